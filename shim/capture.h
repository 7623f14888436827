#ifndef XMPP443_CAPTURE_H
#define XMPP443_CAPTURE_H

/*
 * capture: what clients said first, from a recording of packets.
 *
 * Reads pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng),
 * as tcpdump and Wireshark write them: Ethernet, also with VLAN tags, Linux
 * "any", loopback and raw IP. Only --explain uses it, on a file of the operator's
 * choice; libpcap would be a dependency of the whole daemon for that. Pure.
 */

#include "addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CAPTURE_BYTES_MAX 32768   /* of each connection; no hello is longer */
#define CAPTURE_STREAMS_MAX 256   /* further connections are left out */

/* What one side sent, up to the first gap in the recording. */
struct capture_stream {
	struct addr from, to;
	bool began;          /* its first packet was recorded, so it is known to be the client's side */
	uint32_t first;      /* sequence number of the first byte */
	size_t segments;     /* with data in them */
	size_t len;
	uint8_t *bytes;      /* CAPTURE_BYTES_MAX of them; owned */
	uint8_t *seen;       /* a bit for each */
};

struct capture {
	struct capture_stream *streams; /* in the order of their first packets */
	size_t n;
};

/* Do these bytes begin such a file? */
bool capture_is(const uint8_t *file, size_t len);

/*
 * Reads a file; one that breaks off gives what is in it up to there. 0, or
 * -EINVAL: it is none; -ENOTSUP: none of its packets is of a kind that is
 * known here; -ENOMEM. To be freed with capture_free() if 0.
 */
int capture_read(const uint8_t *file, size_t len, struct capture *ret);

/*
 * One packet, of this link type (LINKTYPE_... of the pcap drafts). 0, also for
 * one that is not TCP; -ENOTSUP: not a known link type; -ENOMEM.
 */
int capture_packet(struct capture *c, unsigned link, const uint8_t *packet, size_t len);

/* Is this the side of a connection that speaks first? */
bool capture_is_client(const struct capture_stream *s);

/* Frees what c holds. */
void capture_free(struct capture *c);

#endif
