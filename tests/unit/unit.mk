# The unit tests: one program for each tests/unit/test_NAME.c. Included by the Makefile.
#
#   make unit          build them into $(B)/tests/
#   make check-unit    run them; SAN=1 with the sanitizers

UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
UNIT_TEST_PROGRAMS := $(UNIT_TESTS:%=$(B)/tests/%)

# Calls that tests/unit/support.c can make fail.
comma ?= ,
UNIT_WRAPPED := malloc calloc realloc strdup open_memstream accept4 getrandom pipe2 socket sendmsg send splice epoll_ctl epoll_create1 fcntl
UNIT_LDFLAGS := $(UNIT_WRAPPED:%=-Wl$(comma)--wrap=%)

unit: $(UNIT_TEST_PROGRAMS) $(CHECK_TESTS)

$(B)/tests/%.o: tests/unit/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Ishim -Itests/unit -fPIE -pthread -MMD -MP -c -o $@ $<

$(UNIT_TEST_PROGRAMS): $(B)/tests/%: $(B)/tests/%.o $(B)/tests/support.o $(UNITS:%=$(B)/shim/%.o)
	$(CC) $(ALL_CFLAGS) -pie $(ALL_LDFLAGS) $(UNIT_LDFLAGS) -o $@ $^ -linih -lseccomp -lcmocka -pthread

# All of them run, also after one that failed.
check-unit: unit
	@failed=; for t in $(UNIT_TEST_PROGRAMS) $(CHECK_TESTS); do echo "== $$t"; $$t || failed="$$failed $$t"; done; \
	tests/unit/pp2_decode.py $(B)/tests/test_pp2 || failed="$$failed pp2_decode.py"; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

-include $(wildcard $(B)/tests/*.d)

.PHONY: unit check-unit
