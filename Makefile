# SPDX-License-Identifier: MIT
# Thin: Meson does the work. Each target is a script that runs without make as well.
.PHONY: all demo check stress fuzz build bench install clean

all: build

demo:		# install what is missing, build, show the main job
	sh scripts/demo

check:		# install what is missing, build, run every test
	sh scripts/check

stress:		# the stress tests; SECONDS=60: each so long
	SECONDS=$(SECONDS) sh scripts/stress

fuzz:		# the fuzz targets under libFuzzer; SECONDS=600: each so long
	SECONDS=$(SECONDS) sh scripts/fuzz

build:
	sh scripts/build

bench:
	sh scripts/build
	meson compile -C $${BUILD:-build} bench-run

install:
	sh scripts/build
	meson install -C $${BUILD:-build}

clean:
	rm -rf build build-check build-asan build-tsan build-clang
