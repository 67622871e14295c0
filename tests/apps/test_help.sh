# Help, manual pages and completions say the same: all are made from apps/table.c, and this finds a writer that drops
# something on the way.
program=$1 tests=$2
. "$tests/apps/lib.sh"

commands=$("$program" help | sed -n '/^commands/,/^$/s/^  \([a-z]*\) .*/\1/p')
[ "$(echo "$commands" | wc -w)" -ge 12 ] || fail "gossamer help lists only: $commands"

for shell in bash zsh fish; do
    "$program" help --completion $shell >completion.$shell || fail "no completion for $shell"
done
bash -n completion.bash || fail "bash does not accept its completion"
. ./completion.bash

complete_words() { # of the words given, the last one being typed
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _gossamer
    printf '%s\n' "${COMPREPLY[@]}"
}
equal "$(complete_words gossamer '' | grep -v ^-- | sort)" "$(echo "$commands" | sort)" "commands that bash completes"
equal "$(complete_words gossamer run --effort '' | tr '\n' ' ')" "none low medium high " "efforts that bash completes"

for command in $commands; do
    "$program" "$command" --help >help.txt || fail "$command --help ended with $?"
    "$program" help "$command" | cmp -s - help.txt || fail "help $command differs from $command --help"
    awk 'length > 100' help.txt | grep . && fail "$command --help has a line over 100 columns"
    [ "$(tail -c 1 help.txt | wc -l)" = 1 ] || fail "$command --help does not end its last line"
    options=$(sed -n '/^options/,/^examples/s/^  \(-., \|    \)--\([a-z0-9-]*\).*/\2/p' help.txt | sort)
    [ -n "$options" ] || fail "$command --help lists no options"
    "$program" help --man "$command" >page.1
    equal "$(sed -n 's/\\-/-/g; s/^\(\\fB-.\\fR, \)\{0,1\}\\fB--\([a-z0-9-]*\)\\fR.*/\2/p' page.1 | sort)" "$options" \
        "options in the manual page of $command"
    grep -q '^\.SH NAME' page.1 && grep -q '^\.SH EXAMPLES' page.1 || fail "the manual page of $command lacks a section"
    equal "$(complete_words gossamer "$command" -- | sed 's/^--//' | sort)" "$options" "options of $command in bash"
    equal "$(sed -n "s/.*__fish_seen_subcommand_from $command' -l \([a-z0-9-]*\).*/\1/p" completion.fish | sort)" \
        "$options" "options of $command in fish"
    equal "$(sed -n "/^    $command)/,/;;\|&& return/p" completion.zsh | grep -o -- "--[a-z0-9-]*[='{}]" |
        sed 's/^--//; s/.$//' | sort -u)" "$options" "options of $command in zsh"
done
equal "$("$program" help --man | sed -n 's/^\.BR gossamer\\-\([a-z]*\) (1)$/\1/p')" "$commands" "commands in gossamer.1"
equal "$("$program" --version)" "gossamer $(sed -n 's/.*GOSS_VERSION "\(.*\)"/\1/p' "$tests/../include/gossamer.h")" version
equal "$("$program" --help)" "$("$program" help)" "--help"
