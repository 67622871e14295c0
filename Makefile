# For people. The build itself is CMakeLists.txt.
BUILD ?= build
JOBS ?= $(shell nproc)

.PHONY: all demo test lint format sanitize tsan fuzz clean packages
all: packages
	cmake -S . -B $(BUILD) -G Ninja >/dev/null
	ninja -C $(BUILD) -j $(JOBS)

packages:
	@scripts/install-packages

# Everything that can be checked on a plain machine: no GPU, no real weights.
test: all
	scripts/check-includes
	cd $(BUILD) && ctest --output-on-failure -j $(JOBS)

# clang-format and clang-tidy, both without findings.
lint:
	clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h')
	cmake -S . -B $(BUILD)-lint -G Ninja -DCMAKE_C_COMPILER=clang >/dev/null
	clang-tidy -quiet -p $(BUILD)-lint $$(git ls-files 'src/*.c' 'apps/*.c')

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

# The whole suite under AddressSanitizer and UBSan, and under ThreadSanitizer.
sanitize:
	cmake -S . -B $(BUILD)-sanitize -G Ninja -DGOSS_SANITIZE=ON >/dev/null
	ninja -C $(BUILD)-sanitize -j $(JOBS)
	cd $(BUILD)-sanitize && ctest --output-on-failure -j $(JOBS)

tsan:
	cmake -S . -B $(BUILD)-tsan -G Ninja -DGOSS_TSAN=ON >/dev/null
	ninja -C $(BUILD)-tsan -j $(JOBS)
	cd $(BUILD)-tsan && ctest --output-on-failure -j $(JOBS)

clean:
	rm -rf $(BUILD) $(BUILD)-*
