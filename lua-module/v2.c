#include "v2.h"

#include <string.h>
#include <sys/socket.h>

const uint8_t V2_SIGNATURE[V2_SIGNATURE_LEN] = {
	0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
};

const uint8_t *v2_take(struct v2_reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->left < n)
		return NULL;
	r->p += n;
	r->left -= n;
	return p;
}

uint16_t v2_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

int v2_block_len(uint8_t family)
{
	switch (family >> 4) {
	case 0: return 0;
	case 1: return 4 + 4 + 2 + 2;
	case 2: return 16 + 16 + 2 + 2;
	case 3: return 108 + 108;
	default: return -1;
	}
}

struct v2_addr v2_make_addr(int family, const uint8_t *ip, const uint8_t *port)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct v2_addr addr = {.family = family, .port = v2_u16(port)};

	if (family == AF_INET6 && memcmp(ip, mapped, sizeof(mapped)) == 0) {
		addr.family = AF_INET;
		ip += sizeof(mapped);
	}
	memcpy(addr.ip, ip, addr.family == AF_INET ? 4 : 16);
	return addr;
}

void v2_read_block(uint8_t family, const uint8_t *block, struct v2_addr *ret_source, struct v2_addr *ret_dest)
{
	int af = family == V2_TCP4 ? AF_INET : AF_INET6;
	size_t size = family == V2_TCP4 ? 4 : 16;

	*ret_source = v2_make_addr(af, block, block + 2 * size);
	*ret_dest = v2_make_addr(af, block + size, block + 2 * size + 2);
}
