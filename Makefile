# The whole build. `make help` lists the targets; objects land in build/$(MODE).
MODE    ?= debug
PREFIX  ?= /usr/local
DESTDIR ?=
CFLAGS  ?= -g
VERSION := $(shell cat VERSION)
B       := build/$(MODE)
GEN     := build/gen

STD  := -std=gnu17 -pthread -fPIC -fno-semantic-interposition -fno-common -D_GNU_SOURCE -DCULMEN_VERSION='"$(VERSION)"' \
        -Iinclude -Isrc -Itests -I$(GEN)
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
        -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wformat=2 -Wno-missing-field-initializers -Werror

MODE_debug   := -O1 -fno-omit-frame-pointer
# At -O3 gcc follows error_set() into a status of 0 that no caller gives it, and then warns. clang has no such warning.
MODE_release := -O3 -fvisibility=hidden $(if $(findstring clang,$(CC)),,-Wno-error=maybe-uninitialized)
MODE_asan    := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
MODE_tsan    := -O1 -fsanitize=thread
MODE_fuzz    := -O1 -fsanitize=fuzzer-no-link,address,undefined
MODE_cov     := -O0 --coverage
ifeq ($(MODE),fuzz)
CC := clang
endif
ifeq ($(MODE),release)  # kernels alone drop their asserts
$(B)/src/kernels/%.o: private CPPFLAGS += -DNDEBUG
endif

ifeq ($(MODE),asan)  # gcc 14 puts 64-byte vectors at 32-byte addresses when ASan moves a thread's frames to its heap
$(B)/src/kernels/%.o: private CPPFLAGS += $(if $(findstring clang,$(CC)),,--param=asan-use-after-return=0)
endif

# A kernel folder names the instruction set that its files may use; the rest stays at the baseline.
# Kernels are optimised in every mode: tests would crawl otherwise.
$(B)/src/kernels/%.o: private ISA := -O2 -ffp-contract=off
$(B)/src/kernels/ref/%.o: private ISA := -O3 -ffp-contract=off
$(B)/src/kernels/generic/%.o: private ISA := -O3
$(B)/src/kernels/x86/avx2/%.o: private ISA := -O3 -mavx2 -mfma -mf16c
$(B)/src/kernels/x86/avx512/%.o: private ISA := -O3 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl
$(B)/src/kernels/x86/avx512_bf16/%.o: private ISA := -O3 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq \
    -mavx512vl -mavx512bf16
$(B)/src/kernels/x86/amx/%.o: private ISA := -O3 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl \
    -mavx512bf16 -mamx-tile -mamx-bf16

# So does a file of codec by its name.
$(B)/src/codec/%_avx2.o: private ISA := -O3 -mavx2

OBJCOPY ?= objcopy
CLANG_FORMAT ?= $(or $(shell command -v clang-format-19),clang-format)
CLANG_TIDY   ?= $(or $(shell command -v clang-tidy-19),clang-tidy)
SOURCES       = $(shell find src cmd tests examples include -name '*.[ch]')

ALL    := $(sort $(shell find src -name '*.c'))
TESTS  := $(filter %_test.c,$(ALL))
FUZZ   := $(filter %_fuzz.c,$(ALL))
BENCH  := $(filter %_bench.c,$(ALL))
LIB    := $(filter-out $(TESTS) $(FUZZ) $(BENCH),$(ALL))
CMD    := $(sort $(wildcard cmd/*.c))
PROTO  := $(sort $(wildcard proto/*.proto))
PB_C   := $(PROTO:%.proto=$(GEN)/%.pb-c.c)
LDLIBS += -lprotobuf-c -lsqlite3 -lz -lm

# `make V=1` shows whole commands.
ifneq ($(V),1)
Q = @
say = $(if $(findstring s,$(firstword -$(MAKEFLAGS))),@:,@printf '  %-4s %s\n' $(1) $@)
endif
compile = $(CC) $(STD) $(WARN) $(MODE_$(MODE)) $(ISA) $(CPPFLAGS) $(CFLAGS)
link    = $(CC) $(STD) $(MODE_$(MODE)) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LDLIBS)

all: $(B)/culmen                  ## build the program (the default); MODE=release is the product

$(B)/%.o: %.c $(B)/flags | $(PB_C)
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(compile) -MMD -MP -c -o $@ $<
$(B)/proto/%.o: $(GEN)/proto/%.pb-c.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(STD) $(MODE_$(MODE)) $(CFLAGS) -MMD -MP -c -o $@ $<
$(GEN)/proto/%.pb-c.c: proto/%.proto
	@mkdir -p $(@D)
	$(call say,PB)
	$(Q)said=$$(protoc-c --proto_path=. --c_out=$(GEN) $< 2>&1) || { echo "$$said"; exit 1; } # Debian 13's always warns
$(B)/lib.a: $(LIB:%.c=$(B)/%.o) $(PROTO:%.proto=$(B)/%.o)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^
$(B)/culmen: $(CMD:%.c=$(B)/%.o) $(B)/lib.a
	$(call say,LD)
	$(Q)$(link)

# libculmen: what runs plans, and nothing else of the program; only culmen_* is visible.
API     := base tensor ops plan kernels engine
API_O    = $(patsubst %.c,$(B)/%.o,$(filter $(API:%=src/%/%),$(LIB)))
SONAME  := libculmen.so.$(firstword $(subst ., ,$(VERSION)))
$(B)/libculmen.a: $(API_O)
	@rm -f $@
	$(call say,AR)
	$(Q)$(LD) -r -o $(@:.a=.o) $^
	$(Q)$(OBJCOPY) --wildcard --keep-global-symbol='culmen_*' $(@:.a=.o)
	$(Q)$(AR) rcs $@ $(@:.a=.o)
$(B)/$(SONAME): $(API_O) src/engine/culmen.map
	$(call say,LD)
	$(Q)$(CC) $(STD) $(MODE_$(MODE)) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,-z,defs \
	    -Wl,--version-script=src/engine/culmen.map -o $@ $(API_O) -lm
$(B)/libculmen.so: $(B)/$(SONAME)
	@ln -sf $(SONAME) $@
$(B)/examples/%: examples/%.c $(B)/libculmen.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) -std=c99 -Wall -Wextra -Werror -pthread -Iinclude $(MODE_$(MODE)) $(CFLAGS) -o $@ $< $(B)/libculmen.a -lm
EXAMPLES := $(patsubst %.c,$(B)/%,$(wildcard examples/*.c))
lib: $(B)/libculmen.a $(B)/libculmen.so $(EXAMPLES) ## build libculmen, static and shared, and the examples

$(B)/tests/nodes/host: $(B)/tests/nodes/host.o $(B)/lib.a
	$(call say,LD)
	$(Q)$(link)
$(B)/%_test: $(B)/%_test.o $(B)/tests/support/test_main.o $(B)/lib.a
	$(call say,LD)
	$(Q)$(link)
$(B)/%_bench: $(B)/%_bench.o $(B)/lib.a
	$(call say,LD)
	$(Q)$(link)
$(B)/%_fuzz: $(B)/%_fuzz.o $(B)/lib.a
	$(call say,LD)
	$(Q)$(link) -fsanitize=fuzzer

# Changed flags or compiler rebuild everything.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(compile))' | cmp -s - $@ || echo '$(subst ','\'',$(compile))' >$@

tests: all $(TESTS:%.c=$(B)/%)    ## build the program and the unit tests
test: tests                       ## run the unit tests
	tools/run-tests $(TESTS:%.c=$(B)/%)
asan tsan:                        ## the unit tests under a sanitizer
	$(MAKE) MODE=$@ test
CLANG ?= clang
clang:                            ## the unit tests, compiled by CLANG (clang)
	$(MAKE) CC=$(CLANG) B=build/clang test
check-clang: clang                ## the same, and under clang's ASan and UBSan, which see more than gcc's
	$(MAKE) CC=$(CLANG) B=build/clang-asan MODE=asan test
bench: $(BENCH:%.c=$(B)/%)        ## run the micro benchmarks; use MODE=release
	for b in $^; do $$b || exit 1; done
golden: all                       ## compare golden files; UPDATE=1 rewrites them
	tools/run-golden tests/golden
fuzz:                             ## build the fuzzers into build/fuzz
	$(MAKE) MODE=fuzz $(FUZZ:%.c=build/fuzz/%)
fuzz-smoke: fuzz                  ## run each fuzzer for FUZZ_SECONDS (60), FUZZ_JOBS at a time (one a CPU)
	tools/run-fuzzers $(FUZZ:%.c=build/fuzz/%)
check-long:                       ## the sweeps that tools/test leaves out: half an hour
	tools/check-long
lint: $(PB_C)                     ## layers, sizes, headers, format
	tools/check-layers && tools/check-size && tools/check-headers
	$(CLANG_FORMAT) --dry-run -Werror $(SOURCES)
tidy:                             ## clang-tidy over everything (minutes)
	$(CLANG_TIDY) --quiet $(ALL) $(CMD) -- $(STD)
check: lint test golden asan      ## lint, unit tests, golden files, unit tests under ASan and UBSan
format:                           ## rewrite the sources with clang-format
	$(CLANG_FORMAT) -i $(SOURCES)
# MODE=release whatever was asked for: what is installed is the product.
MAN := $(wildcard docs/man/*.scd)
install:                          ## install program, library, header, man pages: PREFIX=, DESTDIR=
	$(MAKE) MODE=release install-release
install-release: TO = $(DESTDIR)$(PREFIX)
install-release: all lib
	install -d "$(TO)/bin" "$(TO)/lib/pkgconfig" "$(TO)/include/culmen"
	install -m 755 -s $(B)/culmen "$(TO)/bin/culmen"
	install -m 644 include/culmen/plan.h "$(TO)/include/culmen/"
	install -D -m 644 packaging/culmen.bash-completion "$(TO)/share/bash-completion/completions/culmen"
	install -m 644 $(B)/libculmen.a "$(TO)/lib/"
	install -m 755 -s $(B)/$(SONAME) "$(TO)/lib/"
	ln -sf $(SONAME) "$(TO)/lib/libculmen.so"
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' src/engine/culmen.pc.in >"$(TO)/lib/pkgconfig/culmen.pc"
	if command -v scdoc >/dev/null; then for m in $(MAN); do page=$$(basename $$m .scd); \
	    install -d "$(TO)/share/man/man$${page##*.}"; \
	    tools/make-man $(B)/culmen $$m >"$(TO)/share/man/man$${page##*.}/$$page" || exit 1; done; \
	    ln -sf culmen-up.1 "$(TO)/share/man/man1/culmen-down.1"; \
	else echo "scdoc is not installed: no man pages"; fi
clean:                            ## remove build/
	rm -rf build
help:                             ## this list
	@sed -n 's/^\([a-z_. -]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: all tests test clang check-clang check-long bench asan tsan golden fuzz fuzz-smoke lint tidy check format install install-release lib clean help FORCE
.SECONDARY:
-include $(patsubst %.c,$(B)/%.d,$(ALL) $(CMD) $(wildcard tests/support/*.c tests/nodes/*.c))
