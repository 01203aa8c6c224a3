# Everything a newcomer needs: make demo, make test, make build, make docs, make bench, make clean,
# make help. For those who change it: make sanitize, make fuzz.
# Each does all of its own set-up on a Debian with Swift 6, gcc, git and Python 3.

LIBRARY := build/libgraft.so
SONAME := libgraft.so.0
MULTIARCH := $(shell gcc -print-multiarch)
STATIC := build/static
VENV := build/venv

# ---- set-up --------------------------------------------------------------------------------------

# A file that has to be there, and the Debian package that brings it.
NEEDED := \
  /usr/lib/$(MULTIARCH)/openblas-serial/libopenblas.a:libopenblas-serial-dev \
  /usr/lib/$(MULTIARCH)/libjson-c.a:libjson-c-dev \
  /usr/lib/$(MULTIARCH)/libz.a:zlib1g-dev \
  /usr/lib/$(MULTIARCH)/libomp5.so:libomp-dev
MISSING := $(strip $(foreach pair,$(NEEDED),\
  $(if $(wildcard $(firstword $(subst :, ,$(pair)))),,$(lastword $(subst :, ,$(pair))))))
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes \
  apt-get -q -y -o Dpkg::Use-Pty=0

# The libraries that are linked in, in a folder of their own: the linker then takes no other form.
# OpenBLAS goes without its destructor, which frees its work memory when the process exits, even
# while another thread is multiplying in it. (The prerequisite: a folder from before that is renewed.)
$(STATIC)/.complete: $(if $(MISSING),packages) Makefile
	@mkdir -p $(STATIC)
	@ln -sf /usr/lib/$(MULTIARCH)/libjson-c.a /usr/lib/$(MULTIARCH)/libz.a $(STATIC)/
	@rm -f $(STATIC)/libopenblas.a
	@objcopy --remove-section=.fini_array \
	  /usr/lib/$(MULTIARCH)/openblas-serial/libopenblas.a $(STATIC)/libopenblas.a
	@touch $@

.PHONY: packages
packages:
	@echo "Installing $(MISSING)"
	@command -v apt-get >/dev/null || { echo "no apt-get here: install $(MISSING)" >&2; exit 1; }
	@$(APT) update >/dev/null
	@$(APT) install --no-install-recommends $(MISSING) >/dev/null

# Two virtual environments' worth of packages in one: the tests' are a superset of the demo's.
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -q

$(VENV)/.demo: examples/demo/requirements.txt
	@echo "Installing the demo's Python packages into $(VENV)"
	@test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	@$(PIP) install -r $<
	@touch $@

# Open MPI for the example that uses it, pkg-config for those who build without CMake, Doxygen for
# the guide, a browser for the report's page, what compiles and runs the kernels for aarch64. Where
# there is no apt-get, the tests that need them say what they miss.
DOCS_PACKAGES := $(if $(shell command -v doxygen),,doxygen)
AARCH64_PACKAGES := $(if $(findstring aarch64,$(MULTIARCH)),, \
  $(if $(shell command -v aarch64-linux-gnu-gcc),,gcc-aarch64-linux-gnu libc6-dev-arm64-cross) \
  $(if $(shell command -v qemu-aarch64),,qemu-user))
TEST_PACKAGES := $(strip $(if $(shell command -v mpicc),,libopenmpi-dev) \
  $(if $(shell command -v mpirun),,openmpi-bin) $(if $(shell command -v pkg-config),,pkg-config) \
  $(if $(or $(shell command -v chromium),$(shell command -v google-chrome)),,chromium) \
  $(DOCS_PACKAGES) $(AARCH64_PACKAGES))

$(VENV)/.packages: Makefile
	@mkdir -p $(VENV)
ifneq ($(TEST_PACKAGES),)
	@echo "Installing $(TEST_PACKAGES)"
	@{ $(APT) update && $(APT) install --no-install-recommends $(TEST_PACKAGES); } >/dev/null || \
	  echo "$(TEST_PACKAGES) could not be installed: tests that need them will fail, and say so" >&2
endif
	@touch $@

$(VENV)/.docs: docs/requirements.txt
	@echo "Installing the guide's Python packages into $(VENV)"
	@test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	@$(PIP) install -r $<
	@touch $@

$(VENV)/.test: Tests/python/requirements.txt $(VENV)/.demo $(VENV)/.docs $(VENV)/.packages
	@echo "Installing the tests' Python packages into $(VENV)"
	@$(PIP) install -r $<
	@touch $@

# ---- build ---------------------------------------------------------------------------------------

# The Swift runtime, OpenBLAS (a serial copy of our own: the host's keeps its threads), json-c and
# zlib are linked in; libomp stays shared, since two copies of it in one process abort it.
# (-Bsymbolic: libz.a is not position-independent, and SwiftPM links the library for its tests
# without the list of exports. -z nodelete: dlclose leaves the code where it is, since a thread may
# be in it, and the OpenMP runtime stays anyhow.)
SWIFT_FLAGS := -Xcc -fopenmp -Xswiftc -L$(CURDIR)/$(STATIC) -Xlinker -Bsymbolic
SHARED := swift build -c release --product graft $(SWIFT_FLAGS) \
  -Xswiftc -static-stdlib -Xswiftc -use-ld=lld \
  -Xlinker --version-script=$(CURDIR)/Sources/GraftInterface/exports.map \
  -Xlinker -soname=$(SONAME) -Xlinker -z -Xlinker nodelete
SWIFT_BUILD := $(SHARED) -Xlinker --gc-sections -Xlinker --as-needed -Xlinker -s

.PHONY: build
build: $(STATIC)/.complete
	$(SWIFT_BUILD)
	@cp -f .build/release/libgraft.so $(LIBRARY).new && mv -f $(LIBRARY).new $(LIBRARY)
	@ln -sf libgraft.so build/$(SONAME)

# ---- install -------------------------------------------------------------------------------------

# make install PREFIX=folder: headers, library, pkg-config and CMake files. DESTDIR is put in front
# of every path, for packagers. A library that is there is not built again (sudo has no Swift).
PREFIX ?= /usr/local
DESTDIR ?=
VERSION := $(shell sed -n 's/^\#define GRAFT_VERSION_[A-Z]* //p' Include/graft/version.h | \
  paste -sd.)
INTO = $(DESTDIR)$(PREFIX)
FILL := sed -e 's/@VERSION@/$(VERSION)/g' -e 's/@SONAME@/$(SONAME)/g'

.PHONY: install
install: $(if $(wildcard $(LIBRARY)),,build)
	install -d "$(INTO)/include/graft" "$(INTO)/lib/pkgconfig" "$(INTO)/lib/cmake/Graft" \
	  "$(INTO)/share/doc/graft"
	install -m 644 Include/graft.h Include/graft.hpp "$(INTO)/include"
	install -m 644 Include/graft/*.h Include/graft/*.hpp "$(INTO)/include/graft"
	install -m 755 $(LIBRARY) "$(INTO)/lib/libgraft.so.$(VERSION)"
	ln -sf libgraft.so.$(VERSION) "$(INTO)/lib/$(SONAME)"
	ln -sf $(SONAME) "$(INTO)/lib/libgraft.so"
	$(FILL) bindings/cpp/graft.pc.in > "$(INTO)/lib/pkgconfig/graft.pc"
	$(FILL) bindings/cpp/GraftConfig.cmake.in > "$(INTO)/lib/cmake/Graft/GraftConfig.cmake"
	$(FILL) bindings/cpp/GraftConfigVersion.cmake.in \
	  > "$(INTO)/lib/cmake/Graft/GraftConfigVersion.cmake"
	install -m 644 LICENSE bindings/python/licenses/*.txt "$(INTO)/share/doc/graft"

.PHONY: uninstall
uninstall:
	rm -rf "$(INTO)/include/graft" "$(INTO)/lib/cmake/Graft" "$(INTO)/share/doc/graft"
	rm -f "$(INTO)/include/graft.h" "$(INTO)/include/graft.hpp" "$(INTO)/lib/libgraft.so" \
	  "$(INTO)/lib/$(SONAME)" "$(INTO)/lib/libgraft.so.$(VERSION)" \
	  "$(INTO)/lib/pkgconfig/graft.pc"

# ---- use -----------------------------------------------------------------------------------------

RUN := PYTHONPATH=$(CURDIR)/bindings/python GRAFT_LIBRARY=$(CURDIR)/$(LIBRARY) $(VENV)/bin/python

# make demo DATA=cifar10 DIR=folder runs it on CIFAR's binary files.
DATA ?= digits
DIR ?=
.PHONY: demo
demo: build $(VENV)/.demo
	@$(RUN) examples/demo/demo.py --data $(DATA) $(if $(DIR),--directory "$(DIR)") $(ARGS)

.PHONY: test
test: build $(VENV)/.test
	@SWIFT_FLAGS="$(SWIFT_FLAGS)" $(RUN) Tests/run.py

# The kernels alone, on aarch64 (a part of make test).
.PHONY: test-aarch64
test-aarch64: $(VENV)/.test
	@PYTHONPATH=$(CURDIR)/bindings/python $(VENV)/bin/python -m pytest -q \
	  Tests/python/test_kernels_aarch64.py

# make crash COUNT=1000 kills a run that saves at random moments, so many times.
COUNT ?= 1000
.PHONY: crash
crash: build $(VENV)/.test
	@$(RUN) Tests/crash/kills.py $(COUNT)

# make endurance MINUTES=60 creates, trains, grafts, saves, loads and destroys for so long, and fails
# where memory, file descriptors or threads grow.
MINUTES ?= 60
.PHONY: endurance
endurance: build $(VENV)/.test
	@$(RUN) Tests/endurance/cycles.py $(MINUTES)

# What compiled programs rely on, into Tests/abi/graft.abi; refused where it would break them.
.PHONY: abi-record
abi-record: $(if $(wildcard $(LIBRARY)),,build)
	@GRAFT_LIBRARY=$(CURDIR)/$(LIBRARY) python3 Tests/abi/record.py --write

# ---- sanitizers and fuzzing ----------------------------------------------------------------------

# The library under AddressSanitizer and, in C, UndefinedBehaviorSanitizer, with coverage for
# libFuzzer to follow; the Swift tests under the same; the library under ThreadSanitizer.
SANITIZED := build/sanitized
FRAMES := -Xcc -g -Xcc -fno-omit-frame-pointer -Xswiftc -g
ADDRESS := $(FRAMES) -Xcc -fsanitize=address,undefined -Xcc -fno-sanitize-recover=undefined
COVERAGE := -Xcc -fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp \
  -Xswiftc -sanitize-coverage=edge,indirect-calls,trace-cmp,inline-8bit-counters,pc-table

.PHONY: sanitized-address
sanitized-address: $(STATIC)/.complete
	$(SHARED) --scratch-path $(SANITIZED)/address $(ADDRESS) -Xswiftc -sanitize=address $(COVERAGE)
	@ln -sf libgraft.so $(SANITIZED)/address/release/$(SONAME)

.PHONY: sanitized-tests
sanitized-tests: $(STATIC)/.complete
	swift build --build-tests --scratch-path $(SANITIZED)/tests $(SWIFT_FLAGS) $(ADDRESS) \
	  --sanitize=address -Xswiftc -use-ld=lld

.PHONY: sanitized-thread
sanitized-thread: $(STATIC)/.complete
	$(SHARED) --scratch-path $(SANITIZED)/thread $(FRAMES) -Xcc -fsanitize=thread \
	  -Xswiftc -sanitize=thread
	@ln -sf libgraft.so $(SANITIZED)/thread/release/$(SONAME)

# Where there is no apt-get, Valgrind's checks say that they are left out.
.PHONY: valgrind
valgrind:
	@command -v valgrind >/dev/null || { echo "Installing valgrind"; \
	  $(APT) update >/dev/null; $(APT) install --no-install-recommends valgrind >/dev/null; } || true

.PHONY: sanitize
sanitize: sanitized-address sanitized-tests sanitized-thread build valgrind
	@python3 Tests/sanitize/run.py $(ARGS)

# make fuzz SECONDS=3600 TARGETS="calls idx": so long in all, shared by the targets. What they find
# to reach further is kept in build/fuzz, for the next time; what fails, in Tests/fuzz/corpus.
SECONDS ?= 900
TARGETS ?=
.PHONY: fuzz
fuzz: sanitized-address
	@python3 Tests/fuzz/run.py --seconds $(SECONDS) $(TARGETS)

# ---- the guide, speed ----------------------------------------------------------------------------

# The guide as a site with search and reference, into build/docs. A warning is an error. A library
# that is there is not built again.
.PHONY: docs
docs: $(if $(wildcard $(LIBRARY)),,build) $(VENV)/.docs $(if $(DOCS_PACKAGES),docs-packages)
	@mkdir -p build/doxygen
	@doxygen docs/Doxyfile
	@$(RUN) -m sphinx -q -W --keep-going -b html docs build/docs
	@echo "The guide: build/docs/index.html"

.PHONY: docs-packages
docs-packages:
	@echo "Installing $(DOCS_PACKAGES)"
	@$(APT) update >/dev/null
	@$(APT) install --no-install-recommends $(DOCS_PACKAGES) >/dev/null

# make bench QUICK=1 does ResNet-20 and MobileNetV2 alone, in under three minutes. CASES="..." takes
# patterns of cases' names (benchmarks/engine.py --list has them); without either a graft's follow.
QUICK ?=
CASES ?=
.PHONY: bench
bench: build $(VENV)/.test
	@$(RUN) benchmarks/engine.py $(if $(QUICK),--quick) $(if $(CASES),--cases "$(CASES)") $(ARGS)
ifeq ($(QUICK)$(CASES),)
	@$(RUN) benchmarks/grafting.py
endif

# Where a training step's time goes, layer by layer; ARGS="resnet56 vgg16" are other networks.
.PHONY: bench-layers
bench-layers: build $(VENV)/.test
	@$(RUN) benchmarks/roofline.py $(ARGS)

.PHONY: bench-graft
bench-graft: build $(VENV)/.test
	@$(RUN) benchmarks/grafting.py $(ARGS)

.PHONY: clean
clean:
	rm -rf build .build

.PHONY: help
help:
	@echo "make demo    train a baseline, grafted, and grafted and distilled networks, and compare"
	@echo "             make demo DATA=cifar10 DIR=folder uses CIFAR-10's binary files"
	@echo "make test    run every test; the last line counts them"
	@echo "make test-aarch64  the kernels' tests on aarch64, under qemu (a part of make test)"
	@echo "make sanitize  the tests in C, C++ and Swift under the sanitizers and Valgrind"
	@echo "make fuzz    random files and calls for SECONDS ($(SECONDS)), guided by coverage"
	@echo "make build   build $(LIBRARY), the self-contained library (header: Include/graft.h)"
	@echo "make install install it, headers, CMake and pkg-config files into PREFIX ($(PREFIX))"
	@echo "make docs    the guide as a site with search and reference: build/docs/index.html"
	@echo "make bench   measure speed beside PyTorch's: the engine's, then a graft's (25 minutes)"
	@echo "             make bench QUICK=1: ResNet-20 and MobileNetV2 alone, in three minutes"
	@echo "make bench-graft  a graft's alone"
	@echo "make bench-layers a training step's time and share of the roofline, layer by layer"
	@echo "make crash   kill -9 a run that saves, COUNT=1000 times; each time nothing may be lost"
	@echo "make endurance   MINUTES=60 of creating, training, saving, destroying: nothing may grow"
	@echo "make abi-record  record the binary interface after something has come; never what breaks it"
	@echo "make clean   remove everything that was built"
