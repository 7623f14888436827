#include "hello.h"

#include "support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTORS     "tests/vectors"
#define VECTORS_MAX 128
#define RECORD_HEADER 5
#define BUF_MAX     (8 * (HELLO_MESSAGE_MAX + 64))

struct vector {
	char name[64];
	enum hello_status verdict;
	char sni[256], alpn[512]; /* names parted by commas; empty: none */
	struct guarded bytes;
};

static struct vector vectors[VECTORS_MAX];
static size_t n_vectors;
static struct hello_info info; /* large, so not on the stack */

static enum hello_status verdict_of(const char *name)
{
	if (strcmp(name, "ok") == 0)
		return HELLO_OK;
	if (strcmp(name, "need-more") == 0)
		return HELLO_NEED_MORE;
	if (strcmp(name, "not-tls") == 0)
		return HELLO_NOT_TLS;
	assert_string_equal(name, "malformed");
	return HELLO_MALFORMED;
}

static int read_vectors(void **state)
{
	FILE *table = fopen(VECTORS "/expected.tsv", "re");
	char line[1024];

	group_begin(state);
	if (table == NULL) {
		print_error("run this in the project's directory: %s is not here\n", VECTORS "/expected.tsv");
		return -1;
	}
	while (fgets(line, sizeof(line), table) != NULL) {
		struct vector *v = &vectors[n_vectors++];
		char path[128], *rest = line, *file = strsep(&rest, "\t"), *verdict = strsep(&rest, "\t");
		char *sni = strsep(&rest, "\t"), *alpn = strsep(&rest, "\n");
		size_t len;
		uint8_t *bytes;

		assert_true(n_vectors < VECTORS_MAX && alpn != NULL);
		snprintf(v->name, sizeof(v->name), "%s", file);
		snprintf(v->sni, sizeof(v->sni), "%s", strcmp(sni, "-") == 0 ? "" : sni);
		snprintf(v->alpn, sizeof(v->alpn), "%s", strcmp(alpn, "-") == 0 ? "" : alpn);
		v->verdict = verdict_of(verdict);
		if (strncmp(file, verdict, strlen(verdict)) != 0)
			fail_msg("%s is expected to be %s", file, verdict);
		snprintf(path, sizeof(path), VECTORS "/%s", file);
		bytes = file_read(path, &len);
		v->bytes = guarded_copy(bytes, len);
		free(bytes);
	}
	fclose(table);
	return 0;
}

static int free_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_vectors; i++)
		guarded_free(&vectors[i].bytes);
	return 0;
}

static enum hello_status scan(const uint8_t *buf, size_t len)
{
	struct hello h;

	hello_init(&h);
	return hello_scan(&h, buf, len);
}

/* Both ways, which must agree. */
static enum hello_status read_both(const uint8_t *buf, size_t len)
{
	struct hello h;
	enum hello_status status = hello_read(&h, buf, len, &info);

	assert_int_equal(scan(buf, len), status);
	assert_int_equal(h.status, status);
	return status;
}

/* The ALPN list as text, names parted by commas. */
static const char *alpn_text(const struct hello_info *i)
{
	static char text[HELLO_MESSAGE_MAX];
	const uint8_t *name;
	size_t len, pos = 0, n = 0;

	while (hello_alpn_next(i, &pos, &name, &len)) {
		if (n > 0)
			text[n++] = ',';
		memcpy(text + n, name, len);
		n += len;
	}
	assert_int_equal(pos, i->alpn_len);
	text[n] = '\0';
	return text;
}

static void assert_info(const struct vector *v)
{
	assert_int_equal(info.sni_len, strlen(v->sni));
	assert_memory_equal(info.sni, v->sni, info.sni_len);
	assert_string_equal(alpn_text(&info), v->alpn);
}

static void each_vector_gets_the_verdict_and_the_names_expected(void **state)
{
	(void)state;
	assert_true(n_vectors > 20);
	for (size_t i = 0; i < n_vectors; i++) {
		enum hello_status status = read_both(vectors[i].bytes.p, vectors[i].bytes.len);

		if (status != vectors[i].verdict)
			fail_msg("%s: %s", vectors[i].name, hello_status_name(status));
		if (status == HELLO_OK)
			assert_info(&vectors[i]);
	}
}

static void each_file_of_the_folder_is_in_the_table(void **state)
{
	DIR *d = opendir(VECTORS);
	struct dirent *e;
	size_t n = 0;

	(void)state;
	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		n += strstr(e->d_name, ".bin") != NULL;
	closedir(d);
	assert_int_equal(n, n_vectors);
}

static void every_prefix_of_a_good_hello_needs_more(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];

		if (v->verdict != HELLO_OK)
			continue;
		for (size_t n = 0; n < v->bytes.len; n += v->bytes.len > 4000 && n > 600 ? 37 : 1) {
			/* At the guard page too: nothing behind the prefix is read. */
			struct guarded g = guarded_copy(v->bytes.p, n);

			if (read_both(g.p, n) != HELLO_NEED_MORE)
				fail_msg("%s: the first %zu bytes", v->name, n);
			guarded_free(&g);
		}
	}
}

static void a_verdict_is_final(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];
		enum hello_status final = HELLO_NEED_MORE;
		enum hello_part part;
		struct hello h;

		hello_init(&h);
		for (size_t n = 0; n < v->bytes.len; n++) {
			enum hello_status status = hello_step(&h, v->bytes.p[n], &part);

			if (final == HELLO_NEED_MORE)
				final = status;
			assert_int_equal(status, final);
		}
		assert_int_equal(final, v->verdict);
		if (final == HELLO_NEED_MORE)
			continue;
		for (int byte = 0; byte < 256; byte++) {
			struct hello before = h;

			assert_int_equal(hello_step(&h, (uint8_t)byte, &part), final);
			assert_int_equal(part, HELLO_PART_OTHER);
			assert_memory_equal(&h, &before, sizeof(h));
		}
	}
}

static void a_hello_may_arrive_split_at_any_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];

		for (size_t n = 0; n <= v->bytes.len; n += v->bytes.len > 4000 ? 41 : 1) {
			struct hello h;

			hello_init(&h);
			hello_scan(&h, v->bytes.p, n);
			hello_scan(&h, v->bytes.p + n, 0);
			assert_int_equal(hello_scan(&h, v->bytes.p + n, v->bytes.len - n), v->verdict);
		}
	}
}

/* The handshake message in a vector's records. */
static size_t unrecord(const uint8_t *bytes, size_t len, uint8_t *ret)
{
	size_t n = 0;

	while (len >= RECORD_HEADER) {
		size_t rec = (size_t)(bytes[3] << 8 | bytes[4]);

		assert_true(rec <= len - RECORD_HEADER);
		memcpy(ret + n, bytes + RECORD_HEADER, rec);
		n += rec;
		bytes += RECORD_HEADER + rec;
		len -= RECORD_HEADER + rec;
	}
	assert_int_equal(len, 0);
	return n;
}

/* Puts the message into records of that many bytes; 0: of any size, from the seed. */
static size_t rerecord(const uint8_t *message, size_t len, size_t size, unsigned *seed, uint8_t *ret)
{
	size_t n = 0;

	for (size_t at = 0; at < len;) {
		size_t rec = size > 0 ? size : 1 + (size_t)rand_r(seed) % 300;

		if (rec > len - at)
			rec = len - at;
		ret[n] = 22;
		ret[n + 1] = 3;
		ret[n + 2] = (uint8_t)rand_r(seed); /* the minor version does not count */
		ret[n + 3] = (uint8_t)(rec >> 8);
		ret[n + 4] = (uint8_t)rec;
		memcpy(ret + n + RECORD_HEADER, message + at, rec);
		n += RECORD_HEADER + rec;
		at += rec;
	}
	return n;
}

static void a_hello_may_be_split_over_any_number_of_records(void **state)
{
	uint8_t *message = malloc(BUF_MAX), *records = malloc(BUF_MAX);
	unsigned seed = 3;

	(void)state;
	assert_non_null(message);
	assert_non_null(records);
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];
		size_t len, n;

		if (v->verdict != HELLO_OK)
			continue;
		len = unrecord(v->bytes.p, v->bytes.len, message);
		for (size_t size = 1; size <= len && size <= 600; size++) {
			n = rerecord(message, len, size, &seed, records);
			if (read_both(records, n) != HELLO_OK)
				fail_msg("%s in records of %zu bytes", v->name, size);
			assert_info(v);
			assert_int_equal(read_both(records, n - 1), HELLO_NEED_MORE);
		}
		for (int round = 0; round < 200; round++) {
			n = rerecord(message, len, 0, &seed, records);
			assert_int_equal(read_both(records, n), HELLO_OK);
			assert_info(v);
		}
		/* In two and three records, split anywhere. */
		for (size_t at = 1; at < len && at < 400; at++) {
			size_t third = at / 2 > 0 ? at / 2 : 1;

			n = rerecord(message, at, at, &seed, records);
			n += rerecord(message + at, len - at, len - at, &seed, records + n);
			assert_int_equal(read_both(records, n), HELLO_OK);
			assert_info(v);
			n = rerecord(message, at, third, &seed, records);
			n += rerecord(message + at, len - at, len - at, &seed, records + n);
			assert_int_equal(read_both(records, n), HELLO_OK);
			assert_info(v);
		}
	}
	free(message);
	free(records);
}

static void the_bytes_that_follow_a_hello_are_not_looked_at(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];
		uint8_t *more = malloc(v->bytes.len + 100);

		assert_non_null(more);
		memcpy(more, v->bytes.p, v->bytes.len);
		memset(more + v->bytes.len, 0xff, 100);
		if (v->verdict == HELLO_OK) {
			assert_int_equal(read_both(more, v->bytes.len + 100), HELLO_OK);
			assert_info(v);
		}
		free(more);
	}
}

/*
 * Whether the bytes hold a whole handshake message, as its own length and the
 * records' lengths say; false too if they do not say it well. Written without
 * regard to what hello.c does.
 */
static bool is_complete(const uint8_t *p, size_t len)
{
	uint8_t head[4];
	size_t got = 0, want = 4;

	while (len >= RECORD_HEADER) {
		size_t rec = (size_t)(p[3] << 8 | p[4]);

		if (p[0] != 22 || p[1] != 3 || rec == 0)
			return false;
		p += RECORD_HEADER;
		len -= RECORD_HEADER;
		for (; rec > 0 && len > 0; rec--, len--, p++) {
			if (got < 4)
				head[got] = *p;
			if (++got == 4)
				want = 4 + (size_t)(head[1] << 16 | head[2] << 8 | head[3]);
			if (got >= 4 && got == want)
				return true;
		}
		if (rec > 0)
			return false;
	}
	return false;
}

static void a_complete_hello_with_any_byte_changed_never_needs_more(void **state)
{
	static const uint8_t changes[] = {0x01, 0x02, 0x04, 0x10, 0x40, 0x80, 0xff, 0x7f};
	unsigned complete = 0;

	(void)state;
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];
		size_t step = v->bytes.len > 4000 ? 97 : 1;

		for (size_t at = 0; at < v->bytes.len; at += at > 400 ? step : 1) {
			uint8_t was = v->bytes.p[at];

			for (int c = 0; c < 256; c++) {
				enum hello_status status;

				/* The first bytes, where most lengths stand, take every value. */
				if (at >= 120 && c >= (int)sizeof(changes))
					break;
				if (v->bytes.len > 4000 && c >= (int)sizeof(changes))
					break;
				v->bytes.p[at] = (uint8_t)(at >= 120 || v->bytes.len > 4000 ? was ^ changes[c] : c);
				status = read_both(v->bytes.p, v->bytes.len);
				if (is_complete(v->bytes.p, v->bytes.len)) {
					complete++;
					if (status == HELLO_NEED_MORE)
						fail_msg("%s: byte %zu changed from %u to %u", v->name, at, was, v->bytes.p[at]);
				}
			}
			v->bytes.p[at] = was;
		}
	}
	assert_true(complete > 100000);
}

/* A hello that is put together from the outside in; what is put out can be changed by the tests. */
struct builder {
	uint8_t buf[2 * HELLO_MESSAGE_MAX];
	size_t len;
};

static void put(struct builder *b, const void *bytes, size_t len)
{
	memcpy(b->buf + b->len, bytes, len);
	b->len += len;
}

static size_t open_block(struct builder *b, size_t width)
{
	memset(b->buf + b->len, 0, width);
	b->len += width;
	return b->len;
}

static void close_block(struct builder *b, size_t start, size_t width)
{
	size_t len = b->len - start;

	for (size_t i = 1; i <= width; i++, len >>= 8)
		b->buf[start - i] = (uint8_t)len;
}

static const uint8_t version_random[34] = {3, 3, 1, 2, 3};

/* A hello with these bytes as its extensions. */
static void build(struct builder *b, const void *extensions, size_t len)
{
	size_t record, message, block;

	b->len = 0;
	put(b, "\x16\3\1", 3);
	record = open_block(b, 2);
	put(b, "\1", 1);
	message = open_block(b, 3);
	put(b, version_random, sizeof(version_random));
	put(b, "\0" "\0\2\x13\1" "\1\0", 7);
	block = open_block(b, 2);
	put(b, extensions, len);
	close_block(b, block, 2);
	close_block(b, message, 3);
	close_block(b, record, 2);
}

#define EXTENSIONS(text) verdict_with(text, sizeof(text) - 1)

static enum hello_status verdict_with(const char *extensions, size_t len)
{
	static struct builder b;
	struct guarded g;
	enum hello_status status;

	build(&b, extensions, len);
	g = guarded_copy(b.buf, b.len);
	status = read_both(g.p, g.len);
	guarded_free(&g);
	return status;
}

#define SNI_A   "\0\0\0\6\0\4\0\0\1a"
#define ALPN_H2 "\0\x10\0\5\0\3\2h2"
#define OTHER   "\0\x0b\0\2\1\0"

static void good_extensions_in_any_order_are_read(void **state)
{
	(void)state;
	assert_int_equal(EXTENSIONS(""), HELLO_OK);
	assert_int_equal(EXTENSIONS(OTHER), HELLO_OK);
	assert_int_equal(EXTENSIONS(SNI_A ALPN_H2 OTHER), HELLO_OK);
	assert_int_equal(EXTENSIONS(ALPN_H2 SNI_A), HELLO_OK);
	assert_int_equal(info.sni_len, 1);
	assert_int_equal(info.alpn_len, 3);
	assert_int_equal(EXTENSIONS("\x0a\x0a\0\0" SNI_A "\xfa\xfa\0\1x"), HELLO_OK);
	assert_int_equal(EXTENSIONS("\0\x10\0\7\0\5\1a\2bc"), HELLO_OK);
	assert_string_equal(alpn_text(&info), "a,bc");
}

static void a_length_that_is_off_by_one_is_malformed(void **state)
{
	/* Hellos whose lengths all fit but one. */
	static const struct {
		const char *what;
		char bytes[24];
		size_t len;
	} cases[] = {
		{"ALPN extension one more", "\0\x10\0\6\0\3\2h2", 9}, {"ALPN extension one less", "\0\x10\0\4\0\3\2h2", 9},
		{"ALPN list one more", "\0\x10\0\5\0\4\2h2", 9}, {"ALPN list one less", "\0\x10\0\5\0\2\2h2", 9},
		{"ALPN name one more", "\0\x10\0\5\0\3\3h2", 9}, {"ALPN name one less", "\0\x10\0\5\0\3\1h2", 9},
		{"SNI extension one more", "\0\0\0\7\0\4\0\0\1a", 10}, {"SNI extension one less", "\0\0\0\5\0\4\0\0\1a", 10},
		{"SNI list one more", "\0\0\0\6\0\5\0\0\1a", 10}, {"SNI list one less", "\0\0\0\6\0\3\0\0\1a", 10},
		{"SNI name one more", "\0\0\0\6\0\4\0\0\2a", 10}, {"SNI name one less", "\0\0\0\6\0\4\0\0\0a", 10},
		{"other extension one more", "\0\x0b\0\3\1\0", 6}, {"other extension one less", "\0\x0b\0\1\1\0", 6},
		{"half an extension's type", OTHER "\0", 7}, {"half an extension's length", OTHER "\0\x0b\0", 9},
		{"a byte behind the ALPN list", "\0\x10\0\6\0\3\2h2x", 10}, {"a byte behind the SNI list", "\0\0\0\7\0\4\0\0\1ax", 11},
		{"SNI of no bytes", "\0\0\0\0", 4}, {"ALPN of no bytes", "\0\x10\0\0", 4}, {"SNI of another type", "\0\0\0\6\0\4\1\0\1a", 10},
		{"two names", "\0\0\0\x0a\0\x08\0\0\1a\0\0\1b", 14},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (verdict_with(cases[i].bytes, cases[i].len) != HELLO_MALFORMED)
			fail_msg("%s", cases[i].what);
}

static void an_extension_twice_is_malformed_if_it_is_one_that_counts(void **state)
{
	(void)state;
	assert_int_equal(EXTENSIONS(SNI_A OTHER SNI_A), HELLO_MALFORMED);
	assert_int_equal(EXTENSIONS(ALPN_H2 OTHER ALPN_H2), HELLO_MALFORMED);
}

static void empty_protocol_names_and_lists_are_malformed(void **state)
{
	(void)state;
	assert_int_equal(EXTENSIONS("\0\x10\0\2\0\0"), HELLO_MALFORMED);
	assert_int_equal(EXTENSIONS("\0\x10\0\3\0\1\0"), HELLO_MALFORMED);
	assert_int_equal(EXTENSIONS("\0\x10\0\6\0\4\2h2\0"), HELLO_MALFORMED);
	assert_int_equal(EXTENSIONS("\0\x10\0\6\0\4\0\2h2"), HELLO_MALFORMED);
}

/* Where the lengths stand in a hello of build(). */
enum {
	AT_RECORD = 3,
	AT_TYPE = 5,
	AT_MESSAGE = 6,
	AT_SESSION = 9 + 34,
	AT_SUITES = AT_SESSION + 1,
	AT_COMPRESSION = AT_SUITES + 4,
	AT_EXTENSIONS = AT_COMPRESSION + 2,
};

static void each_outer_length_that_is_off_by_one_is_malformed(void **state)
{
	static const struct {
		size_t at; /* of the length's last byte */
		int by;
		enum hello_status verdict;
	} cases[] = {
		{AT_RECORD + 1, -1, HELLO_MALFORMED}, /* the last byte begins no record */
		{AT_RECORD + 1, 1, HELLO_OK},         /* the message is there; what else the record has does not count */
		{AT_MESSAGE + 2, 1, HELLO_MALFORMED}, {AT_MESSAGE + 2, -1, HELLO_MALFORMED},
		{AT_SESSION, 1, HELLO_MALFORMED}, {AT_SESSION, 33, HELLO_MALFORMED},
		{AT_SUITES + 1, 1, HELLO_MALFORMED}, {AT_SUITES + 1, -1, HELLO_MALFORMED}, {AT_SUITES + 1, -2, HELLO_MALFORMED},
		{AT_SUITES + 1, 2, HELLO_MALFORMED}, {AT_COMPRESSION, -1, HELLO_MALFORMED}, {AT_COMPRESSION, 1, HELLO_MALFORMED},
		{AT_EXTENSIONS + 1, 1, HELLO_MALFORMED}, {AT_EXTENSIONS + 1, -1, HELLO_MALFORMED},
		{AT_TYPE, 1, HELLO_MALFORMED}, {AT_TYPE, -1, HELLO_MALFORMED},
	};
	static struct builder b;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum hello_status status;

		build(&b, SNI_A ALPN_H2, sizeof(SNI_A ALPN_H2) - 1);
		b.buf[cases[i].at] = (uint8_t)(b.buf[cases[i].at] + cases[i].by);
		status = read_both(b.buf, b.len);
		if (status != cases[i].verdict)
			fail_msg("length at %zu changed by %d: %s", cases[i].at, cases[i].by, hello_status_name(status));
	}
}

static void a_session_id_of_32_bytes_is_good_and_one_of_33_is_not(void **state)
{
	(void)state;
	for (size_t session = 31; session <= 33; session++) {
		static struct builder b;
		uint8_t bytes[33] = {0};
		size_t record, message, block;

		b.len = 0;
		put(&b, "\x16\3\1", 3);
		record = open_block(&b, 2);
		put(&b, "\1", 1);
		message = open_block(&b, 3);
		put(&b, version_random, sizeof(version_random));
		block = open_block(&b, 1);
		put(&b, bytes, session);
		close_block(&b, block, 1);
		put(&b, "\0\2\x13\1" "\1\0", 6);
		close_block(&b, message, 3);
		close_block(&b, record, 2);
		assert_int_equal(read_both(b.buf, b.len), session <= 32 ? HELLO_OK : HELLO_MALFORMED);
	}
}

static void a_name_longer_than_a_host_name_can_be_is_left_out(void **state)
{
	static uint8_t ext[9 + 300 + sizeof(ALPN_H2)];
	static struct builder b;

	(void)state;
	for (size_t len = HELLO_SNI_MAX - 1; len <= HELLO_SNI_MAX + 20; len++) {
		size_t n = 9 + len;

		memset(ext, 'n', sizeof(ext));
		memcpy(ext, "\0\0\0\0\0\0\0\0\0", 9);
		ext[2] = (uint8_t)((len + 5) >> 8);
		ext[3] = (uint8_t)(len + 5);
		ext[4] = (uint8_t)((len + 3) >> 8);
		ext[5] = (uint8_t)(len + 3);
		ext[7] = (uint8_t)(len >> 8);
		ext[8] = (uint8_t)len;
		memcpy(ext + n, ALPN_H2, sizeof(ALPN_H2) - 1);
		build(&b, ext, n + sizeof(ALPN_H2) - 1);
		assert_int_equal(read_both(b.buf, b.len), HELLO_OK);
		assert_int_equal(info.sni_len, len <= HELLO_SNI_MAX ? len : 0);
		assert_string_equal(alpn_text(&info), "h2");
	}
}

static void other_protocols_are_told_by_their_first_bytes(void **state)
{
	static const struct {
		char bytes[16];
		size_t len;
		enum hello_status verdict;
	} cases[] = {
		{"", 0, HELLO_NEED_MORE}, {"G", 1, HELLO_NOT_TLS}, {"\x80", 1, HELLO_NOT_TLS}, {"\x15", 1, HELLO_NOT_TLS},
		{"\x17", 1, HELLO_NOT_TLS}, {"\x14", 1, HELLO_NOT_TLS}, {"\x16", 1, HELLO_NEED_MORE}, {"\x16\xfe", 2, HELLO_NOT_TLS},
		{"\x16\2", 2, HELLO_NOT_TLS}, {"\x16\3", 2, HELLO_NEED_MORE}, {"\x16\3\xff", 3, HELLO_NEED_MORE},
		{"\x16\3\1\0\0", 5, HELLO_MALFORMED}, {"\x16\3\1\x40\0", 5, HELLO_NEED_MORE}, {"\x16\3\1\x40\1", 5, HELLO_MALFORMED},
		{"\x16\3\1\xff\xff", 5, HELLO_MALFORMED}, {"\x16\3\1\0\4\1\0\0\0", 9, HELLO_MALFORMED},
		{"\x16\3\1\0\4\1\1\0\0", 9, HELLO_MALFORMED}, {"\x16\3\1\0\4\2", 6, HELLO_MALFORMED},
		{"\x16\3\1\0\1\1\x15", 7, HELLO_MALFORMED}, {"\x16\3\1\0\1\1\x16\2", 8, HELLO_MALFORMED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct guarded g = guarded_copy((const uint8_t *)cases[i].bytes, cases[i].len);
		enum hello_status status = read_both(g.p, g.len);

		if (status != cases[i].verdict)
			fail_msg("case %zu: %s", i, hello_status_name(status));
		guarded_free(&g);
	}
}

static void a_walk_through_a_damaged_list_ends(void **state)
{
	static struct hello_info damaged;
	const uint8_t *name;
	size_t len, pos = 0;

	(void)state;
	damaged.alpn_len = 4;
	memcpy(damaged.alpn, "\1a\5b", 4);
	assert_true(hello_alpn_next(&damaged, &pos, &name, &len));
	assert_false(hello_alpn_next(&damaged, &pos, &name, &len));
	memcpy(damaged.alpn, "\0\0\0\0", 4);
	pos = 0;
	assert_false(hello_alpn_next(&damaged, &pos, &name, &len));
	pos = 100;
	assert_false(hello_alpn_next(&damaged, &pos, &name, &len));
}

static void verdicts_have_names(void **state)
{
	(void)state;
	assert_string_equal(hello_status_name(HELLO_OK), "ok");
	assert_string_equal(hello_status_name(HELLO_NEED_MORE), "need-more");
	assert_string_equal(hello_status_name(HELLO_NOT_TLS), "not-tls");
	assert_string_equal(hello_status_name(HELLO_MALFORMED), "malformed");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(each_vector_gets_the_verdict_and_the_names_expected),
		TEST(each_file_of_the_folder_is_in_the_table),
		TEST(every_prefix_of_a_good_hello_needs_more),
		TEST(a_verdict_is_final),
		TEST(a_hello_may_arrive_split_at_any_byte),
		TEST(a_hello_may_be_split_over_any_number_of_records),
		TEST(the_bytes_that_follow_a_hello_are_not_looked_at),
		TEST(a_complete_hello_with_any_byte_changed_never_needs_more),
		TEST(good_extensions_in_any_order_are_read),
		TEST(a_length_that_is_off_by_one_is_malformed),
		TEST(an_extension_twice_is_malformed_if_it_is_one_that_counts),
		TEST(empty_protocol_names_and_lists_are_malformed),
		TEST(each_outer_length_that_is_off_by_one_is_malformed),
		TEST(a_session_id_of_32_bytes_is_good_and_one_of_33_is_not),
		TEST(a_name_longer_than_a_host_name_can_be_is_left_out),
		TEST(other_protocols_are_told_by_their_first_bytes),
		TEST(a_walk_through_a_damaged_list_ends),
		TEST(verdicts_have_names),
	};

	return cmocka_run_group_tests_name("hello", tests, read_vectors, free_vectors);
}
