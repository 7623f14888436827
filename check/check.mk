# xmpp443-check, a program of its own: see tests/lint/layers for its units. Included by the Makefile.

CHECK_UNITS := mem clean report rdata domain options http stream cert tls dns probe_step probe plan places \
	judge_cert judge_stream judge_web judge_place judge_dns print run procs local local_host local_web local_seen
CHECK_OBJS := $(CHECK_UNITS:%=$(B)/check/%.o)
# What it knows about addresses and the shim's settings is the shim's own: of these units it takes what it needs.
CHECK_SHIM := $(B)/shim.a
CHECK_LIBS := -lunbound -lssl -lcrypto -lexpat -ljansson -lidn2 -linih

$(B)/xmpp443-check: $(CHECK_OBJS) $(B)/check/main.o $(CHECK_SHIM)
	$(CC) $(ALL_CFLAGS) -pie $(ALL_LDFLAGS) -o $@ $^ $(CHECK_LIBS)

$(CHECK_SHIM): $(UNIT_OBJS)
	rm -f $@
	ar rcs $@ $^

$(B)/check/%.o: check/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIE -MMD -MP -c -o $@ $<

$(B)/check/options.o: ALL_CFLAGS += -DXMPP443_VERSION='"$(VERSION)"'

-include $(wildcard $(B)/check/*.d)

# Unit tests: `make check-unit` runs them with the shim's.
CHECK_TESTS := $(patsubst tests/check/unit/%.c,$(B)/tests/check/%,$(wildcard tests/check/unit/test_*.c))

$(CHECK_TESTS): $(B)/tests/check/%: tests/check/unit/%.c $(CHECK_OBJS) $(CHECK_SHIM)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIE -pie $(ALL_LDFLAGS) -o $@ $^ $(CHECK_LIBS) -lcmocka

BINDIR = $(PREFIX)/bin
DOCDIR = $(PREFIX)/share/doc/xmpp443

install-check: $(B)/xmpp443-check
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(DOCDIR)
	install -m 755 $(B)/xmpp443-check $(DESTDIR)$(BINDIR)/
	install -m 644 doc/man/xmpp443-check.1 $(DESTDIR)$(MANDIR)/man1/
	install -m 644 doc/xmpp443-check.schema.json $(DESTDIR)$(DOCDIR)/

uninstall-check:
	rm -f $(DESTDIR)$(BINDIR)/xmpp443-check $(DESTDIR)$(MANDIR)/man1/xmpp443-check.1 \
		$(DESTDIR)$(DOCDIR)/xmpp443-check.schema.json
	rmdir $(DESTDIR)$(DOCDIR) 2>/dev/null || true

.PHONY: install-check uninstall-check
