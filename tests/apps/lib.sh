# Shared by the scripts of this folder: source it after setting `program` and `tests`.
set -u
work=$(mktemp -d)
export HOME=$work/home # models, chats and the cache of packed files live below it
mkdir -p "$HOME"
cd "$work" || exit 1
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# expect STATUS WORDS COMMAND...: the command ends with STATUS and its standard error holds WORDS.
expect() {
    local status=$1 words=$2 found
    shift 2
    "$@" >out 2>err </dev/null
    found=$?
    [ "$found" = "$status" ] || fail "'$*' ended with $found, not $status: $(head -c 400 err)"
    grep -qF -- "$words" err || fail "'$*' did not say '$words' but: $(head -c 400 err)"
}

# equal A B WHAT: two texts are the same.
equal() {
    [ "$1" = "$2" ] || fail "$3: '$(printf %s "$1" | head -c 300)' is not '$(printf %s "$2" | head -c 300)'"
}
