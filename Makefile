# xmpp443: XMPP and the web on one port.
#
#   make               build the shim, the Lua module and xmpp443-check into build/
#   sudo make demo     show the whole thing with a real Prosody and a real nginx
#   sudo make check    run every test
#   sudo make install  into PREFIX (/usr/local), with DESTDIR in front
#   sudo make uninstall
#   sudo make deb      build Debian packages into build/deb/
#   make rock          pack the Prosody side for luarocks into build/rocks/
#   make deps          install the Debian packages that building needs, if any is missing
#
# SAN=1 builds with AddressSanitizer and UBSan into build/san/.

.DELETE_ON_ERROR:

CC ?= cc
LUA_VERSION ?= 5.4
SAN ?=
WERROR ?=

B := build$(if $(SAN),/san)

WARN := -Wall -Wextra -Wshadow -Wconversion -Wswitch-enum -Wstrict-prototypes \
	-Wmissing-prototypes -Wvla $(if $(WERROR),-Werror)
HARDEN := $(if $(SAN),,-D_FORTIFY_SOURCE=3) -fstack-protector-strong -fstack-clash-protection
comma := ,
CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARN) $(HARDEN) $(CFLAGS) \
	$(if $(SAN),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
ALL_LDFLAGS = -Wl,-z,relro,-z,now $(LDFLAGS)

LUA_CFLAGS = $(shell pkg-config --cflags lua$(LUA_VERSION) 2>/dev/null)

# Each unit of the shim but main, in the order of the layers: see tests/lint/layers.
UNITS := addr capture capture_tcp hello http log loop proc privs sandbox reader notify watchdog pending pipes pp2 pp2_read control route conf_value conf conf_keys \
	conf_file taken record capsule store handoff relay relay_keep relay_start scrape scrape_open env passed relayed conn \
	channels listen keep worker worker_thread metrics server keeper trace explain options serve
UNIT_OBJS := $(UNITS:%=$(B)/shim/%.o)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo scm)

all: $(B)/xmpp443-shim $(B)/fdpass.so $(B)/xmpp443-check

$(B)/xmpp443-shim: $(UNIT_OBJS) $(B)/shim/main.o
	$(CC) $(ALL_CFLAGS) -pie $(ALL_LDFLAGS) -o $@ $^ -linih -lseccomp -pthread

$(B)/shim/%.o: shim/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIE -pthread -MMD -MP -c -o $@ $<

$(B)/shim/options.o: ALL_CFLAGS += -DXMPP443_VERSION='"$(VERSION)"'

-include $(wildcard $(B)/shim/*.d)

FDPASS_SRC := $(addprefix lua-module/,fdpass.c client.c control.c message.c proxied.c proxy.c queue.c \
	recvfd.c unixsock.c v2.c)

$(B)/fdpass.so: $(FDPASS_SRC) $(wildcard lua-module/*.h)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -fPIC -fvisibility=hidden -shared $(ALL_LDFLAGS) -o $@ \
		$(FDPASS_SRC)

# Only the specs use it: sends descriptors, also wrong ones.
$(B)/fdsend.so: tests/spec/helper/fdsend.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -fPIC -shared $(ALL_LDFLAGS) -o $@ $<

# With SAN=1 Lua itself has no sanitizer, so the runtime has to be there first.
check-spec: $(B)/fdpass.so $(B)/fdsend.so
	$(if $(SAN),ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$$($(CC) -print-file-name=libasan.so)) \
		LUA_CPATH='$(B)/?.so;;' LUA_PATH='tests/spec/helper/?.lua;;' \
		lua$(LUA_VERSION) /usr/bin/busted --no-auto-insulate -o TAP tests/spec

# The tables of settings and flags, for comparing the documents with them.
$(B)/tables: tests/manual/tables.c $(UNIT_OBJS)
	$(CC) $(ALL_CFLAGS) -Ishim -fPIE -pie -pthread $(ALL_LDFLAGS) -o $@ $^ -linih -lseccomp

check-manual: $(B)/tables $(B)/xmpp443-shim
	tests/manual/compare $^

# The Prosody side for luarocks, in a directory that can be a server for "luarocks --server" and "prosodyctl install --server".
# A source rock is a zip file of a rockspec and the archive it names. ("luarocks pack" would want to fetch that from somewhere.)
ROCK := xmpp443-scm-1
rock:
	rm -rf $(B)/rocks
	mkdir -p $(B)/rocks
	tar -czf $(B)/rocks/$(ROCK).tar.gz --transform 's|^|$(ROCK)/|' --owner=0 --group=0 \
		lua-module prosody-plugin $(ROCK).rockspec LICENSE README.md
	zip -q -j -m $(B)/rocks/$(ROCK).src.rock $(B)/rocks/$(ROCK).tar.gz
	zip -q $(B)/rocks/$(ROCK).src.rock $(ROCK).rockspec
	luarocks-admin --lua-version=$(LUA_VERSION) make-manifest $(B)/rocks

deps:
	tests/deps build

# Not prerequisites of each other: the packages come first, and with them the
# compiler and its flags.
demo:
	tests/deps demo
	$(MAKE) --no-print-directory -s all
	demo/run

check:
	tests/deps check
	$(MAKE) --no-print-directory -s WERROR=1 all
	$(MAKE) --no-print-directory -s WERROR=1 SAN=1 all
	tests/run

# In a copy, so that nothing is made here but build/deb/. DEB_VERSION=... for another version than the changelog's.
deb:
	tests/deps deb
	rm -rf build/deb
	mkdir -p build/deb/xmpp443
	tar -c --exclude=./build --exclude=./.git . | tar -x -C build/deb/xmpp443
	$(if $(DEB_VERSION),sed -i '1s/(.*)/($(DEB_VERSION))/' build/deb/xmpp443/debian/changelog)
	cd build/deb/xmpp443 && env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS dpkg-buildpackage -us -uc -b
	rm -rf build/deb/xmpp443

proof:
	tests/deps proof
	tests/proof/run

clean:
	rm -rf build

PREFIX ?= /usr/local
SBINDIR = $(PREFIX)/sbin
MANDIR = $(PREFIX)/share/man
UNITDIR = $(PREFIX)/lib/systemd/system
SYSUSERSDIR = $(PREFIX)/lib/sysusers.d
EXAMPLEDIR = $(PREFIX)/share/doc/xmpp443-shim/examples
CONFDIR = /etc/xmpp443
# Debian's Prosody looks for plugins here, and the plugin finds the module beside itself.
PLUGINDIR = /usr/local/lib/prosody/modules
LUACDIR = $(PLUGINDIR)/mod_net_fdpass
# Which systemd the units are for; 0 for none.
SYSTEMD_VERSION ?= $(or $(shell systemctl --version 2>/dev/null | sed -n '1s/systemd \([0-9]*\).*/\1/p'),0)
SYSTEMD_254 = $(shell test $(SYSTEMD_VERSION) -lt 254 || echo yes)

DROPINDIR = $(UNITDIR)/xmpp443-shim.service.d
INSTALL_UNIT = sed 's|@SBINDIR@|$(SBINDIR)|' $(1) > $(2)

install: install-shim install-plugin install-check

install-shim: $(B)/xmpp443-shim
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(UNITDIR) \
		$(DESTDIR)$(SYSUSERSDIR) $(DESTDIR)$(EXAMPLEDIR) $(DESTDIR)$(CONFDIR)
	install -m 755 $(B)/xmpp443-shim $(DESTDIR)$(SBINDIR)/
	install -m 644 doc/man/xmpp443-shim.8 $(DESTDIR)$(MANDIR)/man8/
	install -m 644 doc/man/xmpp443-shim.conf.5 $(DESTDIR)$(MANDIR)/man5/
	install -m 644 shim/xmpp443-shim.socket $(DESTDIR)$(UNITDIR)/
	$(call INSTALL_UNIT,shim/xmpp443-shim.service,$(DESTDIR)$(UNITDIR)/xmpp443-shim.service)
	$(if $(SYSTEMD_254),install -d $(DESTDIR)$(DROPINDIR))
	$(if $(SYSTEMD_254),$(call INSTALL_UNIT,shim/systemd-254.conf,$(DESTDIR)$(DROPINDIR)/systemd-254.conf))
	install -m 644 shim/xmpp443-shim.sysusers $(DESTDIR)$(SYSUSERSDIR)/xmpp443-shim.conf
	install -m 644 shim/private-network.conf $(DESTDIR)$(EXAMPLEDIR)/
	install -m 644 prosody-plugin/systemd/prosody-limits.conf $(DESTDIR)$(EXAMPLEDIR)/
	test -e $(DESTDIR)$(CONFDIR)/shim.conf || install -m 644 shim/shim.conf $(DESTDIR)$(CONFDIR)/shim.conf

install-plugin: $(B)/fdpass.so
	install -d $(DESTDIR)$(PLUGINDIR)/mod_net_fdpass $(DESTDIR)$(LUACDIR)
	install -m 644 prosody-plugin/mod_net_fdpass/*.lua $(DESTDIR)$(PLUGINDIR)/mod_net_fdpass/
	install -m 644 $(B)/fdpass.so $(DESTDIR)$(LUACDIR)/

# The settings stay if they are not as they were shipped.
uninstall: uninstall-check
	rm -f $(DESTDIR)$(SBINDIR)/xmpp443-shim $(DESTDIR)$(MANDIR)/man8/xmpp443-shim.8 \
		$(DESTDIR)$(MANDIR)/man5/xmpp443-shim.conf.5 $(DESTDIR)$(UNITDIR)/xmpp443-shim.socket \
		$(DESTDIR)$(UNITDIR)/xmpp443-shim.service $(DESTDIR)$(DROPINDIR)/systemd-254.conf \
		$(DESTDIR)$(SYSUSERSDIR)/xmpp443-shim.conf $(DESTDIR)$(EXAMPLEDIR)/private-network.conf \
		$(DESTDIR)$(EXAMPLEDIR)/prosody-limits.conf
	rm -rf $(DESTDIR)$(PLUGINDIR)/mod_net_fdpass
	rm -f $(DESTDIR)$(LUACDIR)/fdpass.so
	! cmp -s shim/shim.conf $(DESTDIR)$(CONFDIR)/shim.conf || rm -f $(DESTDIR)$(CONFDIR)/shim.conf
	for d in $(DROPINDIR) $(EXAMPLEDIR) $(dir $(EXAMPLEDIR)) $(CONFDIR); do \
		rmdir $(DESTDIR)$$d 2>/dev/null || true; done

include check/check.mk
include tests/unit/unit.mk
include tests/bench/bench.mk
include tests/fuzz/fuzz.mk

.PHONY: all proof rock deps demo check check-spec check-manual clean deb install install-shim install-plugin uninstall
