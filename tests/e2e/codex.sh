# A scripted session of Codex: it is to run a command that the model calls for, and to end with the model's answer.
# usage: codex.sh CODEX BASE_URL FOLDER WEBSOCKET(true or false): the model plays exec_command({"cmd":"touch qx7"}), then "The file is there!".
set -eu
codex=$1 url=$2 folder=$3 websocket=$4
rm -rf "$folder" && mkdir -p "$folder/home" "$folder/work"
curl -sf "$url/models" >"$folder/home/models.json"
cat >"$folder/home/config.toml" <<END
model = "coder"
model_provider = "gossamer"
model_catalog_json = "$folder/home/models.json"

[model_providers.gossamer]
name = "gossamer"
base_url = "$url"
wire_api = "responses"
supports_websockets = $websocket
END
cd "$folder/work"
CODEX_HOME=$folder/home timeout 120 "$codex" exec --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox \
    "Make the file." </dev/null >../out 2>../errors || { tail -20 ../out ../errors; exit 1; }
test -e qx7 || { echo "the command was not run"; tail -20 ../errors; exit 1; }
grep -q "The file is there!" ../out || { echo "no answer"; cat ../out; exit 1; }
! grep -q "metadata for" ../errors || { echo "the catalogue of models was not understood"; exit 1; }
echo "ok   codex_runs_a_command_and_reports"
echo "1 of 1: codex"
