# The compatibility test of openai/gpt-oss: 30 cases of six tools over both interfaces of the Agents SDK. For each tool a
# model plays the part of calling it.
# usage: gpt_oss.sh CHECKOUT PROGRAM JS FOLDER: CHECKOUT is one of github.com/openai/gpt-oss, JS the installed node packages
set -u
checkout=$(realpath "$1") program=$2 js=$3 folder=$4
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder" && cp "$checkout"/compatibility-test/*.ts "$checkout"/compatibility-test/*.json* "$folder" && cd "$folder" || exit 1
npm ci --no-audit --no-fund --loglevel=error || exit 1
rm -f rollout_*.jsonl

# try TOOL ARGUMENTS
try() {
    python3 -B "$here/scripted.py" model "$program" --final 'It is sunny in Paris!' --call "$1" "$2" &&
        "$program" pack model -o model.goss >pack.log 2>&1 || return 1
    rm -rf model
    "$program" serve -m model.goss --port 0 --context 16384 --threads 2 --no-store >out 2>log &
    local pid=$!
    for _ in $(seq 100); do
        url=$(sed -n 's,.* at \(http://[^ ]*/v1\).*,\1,p' out)
        [ -n "$url" ] && break
        sleep 0.1
    done
    cat >providers.ts <<END
export const PROVIDERS = { $1: { apiBaseUrl: "$url", apiKey: "none", apiType: ["responses", "chat"], modelName: "m", providerDetails: {} } };
END
    grep "\"tool_name\":\"$1\"" cases.jsonl >cases_of_tool.jsonl
    "$js/.bin/esbuild" index.ts --bundle --platform=node --format=esm --packages=external --log-level=error --outfile=index.mjs &&
        "$js/.bin/node" index.mjs --provider "$1" --cases cases_of_tool.jsonl >"$1.log" 2>&1
    kill $pid
    wait $pid
    rm -f model.goss
}

try get_system_health '{}'
try get_weather '{"location":"Rome"}'
try markdown_to_html '{"markdown":"# Hi"}'
try detect_language '{"text":"Hallo"}'
try generate_chart '{"chart_type":"bar","data":[[7]]}'
try query_database '{"table":"users","columns":["id"]}'
good=$(cat rollout_*.jsonl | grep -c '"success":true,"provider"') all=$(cat cases.jsonl | grep -c tool_name)
echo "$good of $((2 * all)): compatibility test of openai/gpt-oss"
[ "$good" = $((2 * all)) ]
