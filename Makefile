# For people. The build itself is CMakeLists.txt.
BUILD ?= build
JOBS ?= $(shell nproc)

PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
ARM64_TESTS ?= .

.PHONY: all demo test lint format sanitize tsan fuzz check-arm64 check-clients install clean packages
all: packages
	cmake -S . -B $(BUILD) -G Ninja >/dev/null
	ninja -C $(BUILD) -j $(JOBS)

packages:
	@scripts/install-packages

# A small real model, fetched and converted; then one question to it. docs/demo-model.md
demo: all
	scripts/make-demo $(BUILD)/gossamer

# Everything that can be checked on a plain machine: no GPU, no real weights.
test: all
	scripts/check-includes
	cd $(BUILD) && ctest --output-on-failure -j $(JOBS)

# clang-format and clang-tidy (of the files that this processor builds), both without findings.
lint:
	clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h' '*.cu' '*.cpp')
	cmake -S . -B $(BUILD)-lint -G Ninja -DCMAKE_C_COMPILER=clang >/dev/null
	sed -n 's,.*"file": "\(.*/\(src\|apps\)/.*\)".*,\1,p' $(BUILD)-lint/compile_commands.json | \
		xargs -n 1 -P $(JOBS) clang-tidy -quiet -p $(BUILD)-lint

format:
	clang-format -i $$(git ls-files '*.c' '*.h' '*.cu' '*.cpp')

# The whole suite under AddressSanitizer and UBSan, and under ThreadSanitizer.
sanitize:
	cmake -S . -B $(BUILD)-sanitize -G Ninja -DGOSS_SANITIZE=ON >/dev/null
	ninja -C $(BUILD)-sanitize -j $(JOBS)
	cd $(BUILD)-sanitize && ctest --output-on-failure -j $(JOBS)

tsan:
	cmake -S . -B $(BUILD)-tsan -G Ninja -DGOSS_TSAN=ON >/dev/null
	ninja -C $(BUILD)-tsan -j $(JOBS)
	cd $(BUILD)-tsan && ctest --output-on-failure -j $(JOBS)

# Every fuzzer for FUZZ_SECONDS, from the committed corpus; what it finds is written to the build folder.
fuzz:
	cmake -S . -B $(BUILD)-fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DGOSS_FUZZ=ON -DGOSS_SANITIZE=ON >/dev/null
	ninja -C $(BUILD)-fuzz -j $(JOBS)
	scripts/run-fuzzers $(BUILD)-fuzz $(FUZZ_SECONDS)

# The suite on another processor, all but the scripts: built by a cross compiler, run by qemu. ARM64_TESTS chooses floors.
check-arm64:
	@scripts/install-packages arm64
	cmake -S . -B $(BUILD)-arm64 -G Ninja -DCMAKE_TOOLCHAIN_FILE=scripts/arm64.cmake >/dev/null
	ninja -C $(BUILD)-arm64 -j $(JOBS)
	cd $(BUILD)-arm64 && ctest --output-on-failure -j $(JOBS) -L '$(ARM64_TESTS)'

# Others' clients against the server, installed from PyPI and npm into the build folder. docs/clients.md
# OPENRESPONSES=FOLDER and GPTOSS=FOLDER add the suites of Open Responses and openai/gpt-oss, from checkouts of them.
check-clients: all
	tests/e2e/run $(BUILD)/gossamer $(BUILD)/clients "$(OPENRESPONSES)" "$(GPTOSS)"

# The program, its manual pages and completions, below DESTDIR and PREFIX.
install: all
	DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX)

clean:
	rm -rf $(BUILD) $(BUILD)-*
