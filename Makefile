# Everything a newcomer needs is one of: make demo, make test, make build, make bench, make clean.
LIBRARY := build/libgraft.so
SONAME := libgraft.so.0
MULTIARCH := $(shell gcc -print-multiarch)
STATIC := build/static

# The Swift runtime, OpenBLAS (a serial copy of our own: the host's keeps its threads), json-c and
# zlib are linked in; libomp stays shared, since two copies of it in one process abort it.
SWIFT_BUILD := swift build -c release --product graft \
  -Xcc -fopenmp -Xswiftc -static-stdlib -Xswiftc -use-ld=lld -Xswiftc -L$(CURDIR)/$(STATIC) \
  -Xlinker --version-script=$(CURDIR)/Sources/GraftInterface/exports.map \
  -Xlinker -soname=$(SONAME) -Xlinker --gc-sections -Xlinker --as-needed -Xlinker -s

.PHONY: build setup clean
build: $(STATIC)/.complete
	$(SWIFT_BUILD)
	@cp -f .build/release/libgraft.so $(LIBRARY).new && mv -f $(LIBRARY).new $(LIBRARY) && ln -sf libgraft.so build/$(SONAME)

$(STATIC)/.complete:
	mkdir -p $(STATIC)
	ln -sf /usr/lib/$(MULTIARCH)/libjson-c.a /usr/lib/$(MULTIARCH)/libz.a $(STATIC)/
	ln -sf /usr/lib/$(MULTIARCH)/openblas-serial/libopenblas.a $(STATIC)/
	touch $@

clean:
	rm -rf build .build
