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

# Each unit of the shim but main, in the order of the layers: see tests/lint/layers.
UNITS := addr hello log loop notify pending pipes pp2 control route conf conf_file \
	handoff relay conn listen worker server explain
UNIT_OBJS := $(UNITS:%=$(B)/shim/%.o)
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo scm)

all: $(B)/xmpp443-shim $(B)/fdpass.so

$(B)/xmpp443-shim: $(UNIT_OBJS) $(B)/shim/main.o
	$(CC) $(ALL_CFLAGS) -pie $(ALL_LDFLAGS) -o $@ $^ -linih -pthread

$(B)/shim/%.o: shim/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIE -pthread -MMD -MP -c -o $@ $<

$(B)/shim/main.o: ALL_CFLAGS += -DXMPP443_VERSION='"$(VERSION)"'

-include $(wildcard $(B)/shim/*.d)

$(B)/fdpass.so: lua-module/fdpass.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -fPIC -shared $(ALL_LDFLAGS) -o $@ $<

clean:
	rm -rf build

.PHONY: all clean
