# xmpp443: XMPP and the web on one port.
#
#   make            build the shim and the Lua module into build/
#   sudo make demo  show the whole thing with a real Prosody and a real nginx
#   sudo make check run every test
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

LUA_CFLAGS := $(shell pkg-config --cflags lua$(LUA_VERSION) 2>/dev/null)

all: $(B)/fdpass.so

FDPASS_SRC := $(addprefix lua-module/,fdpass.c client.c control.c message.c queue.c recvfd.c \
	unixsock.c)

$(B)/fdpass.so: $(FDPASS_SRC) $(wildcard lua-module/*.h)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -fPIC -fvisibility=hidden -shared $(ALL_LDFLAGS) -o $@ \
		$(FDPASS_SRC)

# Only the specs use it: sends descriptors, also wrong ones.
$(B)/fdsend.so: tests/spec/helper/fdsend.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -fPIC -shared $(ALL_LDFLAGS) -o $@ $<

# The specs, then the plugin in private Prosodys (needs root, to become their user).
# With SAN=1 only the specs, under the sanitizers.
check-lua: $(B)/fdpass.so $(B)/fdsend.so
	luacheck -q prosody-plugin tests/spec
	$(if $(SAN),ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$$($(CC) -print-file-name=libasan.so)) \
		LUA_CPATH='$(B)/?.so;;' LUA_PATH='tests/spec/helper/?.lua;;' \
		lua$(LUA_VERSION) /usr/bin/busted --no-auto-insulate tests/spec
	$(if $(SAN),,/usr/bin/python3 -m pytest -q -p no:cacheprovider tests/plugin)

clean:
	rm -rf build

.PHONY: all check-lua clean
