# Builds the load generator and runs the benchmark; included by the main Makefile.
#
#   sudo make bench                              the whole table
#   sudo make bench BENCH='--rows bulk-16'       see tests/bench/README.md

BENCH ?=

BENCH_OBJS := $(patsubst tests/bench/%.c,$(B)/bench/%.o,$(filter-out tests/bench/hello.c,$(wildcard tests/bench/*.c)))

$(B)/bench/load: $(BENCH_OBJS)
	$(CC) $(ALL_CFLAGS) -pie $(ALL_LDFLAGS) -o $@ $^

$(B)/bench/%.o: tests/bench/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIE -MMD -MP -c -o $@ $<

-include $(wildcard $(B)/bench/*.d)

# Not prerequisites: the packages come first, as for check.
bench:
	tests/deps bench
	$(MAKE) --no-print-directory -s $(B)/xmpp443-shim $(B)/bench/load
	tests/bench/bench.py $(BENCH)

.PHONY: bench
