# Fuzzing with libFuzzer (tests/fuzz/README.md), and the parser's benchmark. Included by the Makefile.
#
#   make fuzz          run all targets, FUZZ_SECONDS together
#   make fuzz-build    build them only, into build/fuzz/
#   make bench-hello   nanoseconds per hello, beside OpenSSL's

FUZZ_SECONDS ?= 60
FUZZ_CC ?= clang
FUZZ_TARGETS := fuzz_hello fuzz_oracle fuzz_pp2 fuzz_conf fuzz_message fuzz_proxy
FUZZ_TARGETS += fuzz_capture fuzz_check
FUZZ_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARN) -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all \
	-fsanitize=fuzzer,address,undefined

fuzz: fuzz-build
	@FUZZ_SECONDS='$(FUZZ_SECONDS)' tests/fuzz/run $(FUZZ_TARGETS)

fuzz-build: $(FUZZ_TARGETS:%=build/fuzz/%)

$(FUZZ_TARGETS:%=build/fuzz/%): build/fuzz/%: tests/fuzz/%.c \
		$(wildcard shim/*.h check/*.h lua-module/*.h tests/fuzz/*.h)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) -o $@ $(filter %.c,$^) $(FUZZ_LIBS)

# What each target is made of besides its own file.
build/fuzz/fuzz_hello: tests/fuzz/tls.c tests/fuzz/mutate.c shim/hello.c
build/fuzz/fuzz_oracle: tests/fuzz/tls.c tests/fuzz/mutate.c shim/hello.c
# mutate.c knows the format; watching every comparison would only take half of the time.
build/fuzz/fuzz_hello build/fuzz/fuzz_oracle: FUZZ_CFLAGS += -fno-sanitize-coverage=trace-cmp
build/fuzz/fuzz_oracle: FUZZ_LIBS := -lssl -lcrypto
build/fuzz/fuzz_pp2: shim/pp2.c shim/addr.c lua-module/message.c lua-module/v2.c
build/fuzz/fuzz_conf: shim/conf.c shim/conf_keys.c shim/conf_value.c shim/conf_file.c shim/addr.c shim/route.c shim/hello.c
build/fuzz/fuzz_conf: FUZZ_LIBS := -linih
build/fuzz/fuzz_message: lua-module/message.c lua-module/v2.c
build/fuzz/fuzz_proxy: lua-module/proxy.c lua-module/v2.c shim/pp2_read.c shim/addr.c
build/fuzz/fuzz_capture: shim/capture.c shim/capture_tcp.c
build/fuzz/fuzz_check: check/rdata.c check/http.c check/stream.c check/clean.c check/mem.c
build/fuzz/fuzz_check: FUZZ_LIBS := -lexpat

# Built as the shim is: it measures.
build/bench/hello: tests/bench/hello.c shim/hello.c shim/hello.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIE -pie $(ALL_LDFLAGS) -o $@ $(filter %.c,$^) -lssl -lcrypto

bench-hello: build/bench/hello
	$< $(wildcard tests/vectors/ok-real-*.bin tests/vectors/ok-post-quantum*.bin tests/vectors/ok-grease.bin)

.PHONY: fuzz fuzz-build bench-hello
