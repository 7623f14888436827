#include "../../../check/rdata.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t srv[] = "\0\5\0\1\1\xbb\3one\7example"; /* and the 0 */

/* A copy of exactly that many bytes, so that a sanitizer sees every byte too far. */
static bool read_srv(const uint8_t *data, size_t len, struct rdata_srv *ret)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	bool ok;

	memcpy(copy, data, len);
	ok = rdata_srv(copy, len, ret);
	free(copy);
	return ok;
}

static void a_service_record(void **state)
{
	struct rdata_srv r;

	(void)state;
	assert_true(read_srv(srv, sizeof(srv), &r));
	assert_int_equal(r.priority, 5);
	assert_int_equal(r.weight, 1);
	assert_int_equal(r.port, 443);
	assert_string_equal(r.target, "one.example");
}

static void the_service_that_is_not_offered(void **state)
{
	struct rdata_srv r;

	(void)state;
	assert_true(read_srv((const uint8_t *)"\0\0\0\0\0\0", 7, &r));
	assert_string_equal(r.target, "");
}

static void no_prefix_of_a_record_is_a_record(void **state)
{
	struct rdata_srv r = {.port = 77};

	(void)state;
	for (size_t n = 0; n < sizeof(srv); n++)
		assert_false(read_srv(srv, n, &r));
	assert_int_equal(r.port, 77);
}

static void bytes_behind_a_record_spoil_it(void **state)
{
	uint8_t longer[sizeof(srv) + 1] = {0};
	struct rdata_srv r;

	(void)state;
	memcpy(longer, srv, sizeof(srv));
	assert_false(read_srv(longer, sizeof(longer), &r));
}

static void a_compressed_name_is_none(void **state)
{
	struct rdata_srv r;

	(void)state;
	assert_false(read_srv((const uint8_t *)"\0\5\0\1\1\xbb\xc0\x0c", 8, &r));
}

static void odd_bytes_in_a_name_are_escaped(void **state)
{
	struct rdata_srv r;

	(void)state;
	assert_true(read_srv((const uint8_t *)"\0\5\0\1\1\xbb\4a.\x1b\"\1b", 14, &r));
	assert_string_equal(r.target, "a\\046\\027\\034.b");
}

static void the_longest_name_of_the_oddest_bytes_fits(void **state)
{
	uint8_t data[6 + 255] = {0};
	struct rdata_srv r;
	size_t pos = 6;

	(void)state;
	for (size_t left = 254; left > 0;) {
		size_t label = left > 64 ? 63 : left - 1;

		data[pos] = (uint8_t)label;
		memset(data + pos + 1, 0xff, label);
		pos += 1 + label;
		left -= 1 + label;
	}
	assert_true(read_srv(data, sizeof(data), &r));
	assert_int_equal(strlen(r.target), 4 * 250 + 3);
	memset(data + 6, 0, 255);
	data[6] = 64; /* no label is that long */
	assert_false(read_srv(data, sizeof(data), &r));
}

static void who_may_issue_certificates(void **state)
{
	static const uint8_t issue[] = "\0\5issueletsencrypt.org";
	struct rdata_caa r;

	(void)state;
	assert_true(rdata_caa(issue, sizeof(issue) - 1, &r));
	assert_false(r.critical);
	assert_string_equal(r.tag, "issue");
	assert_string_equal(r.value, "letsencrypt.org");

	assert_true(rdata_caa((const uint8_t *)"\x80\5iodef\x1b[0m", 11, &r));
	assert_true(r.critical);
	assert_string_equal(r.value, "?[0m");
}

static void caa_records_that_are_none(void **state)
{
	struct rdata_caa r;

	(void)state;
	assert_false(rdata_caa((const uint8_t *)"\0\5", 2, &r));
	assert_false(rdata_caa((const uint8_t *)"\0\0issue", 7, &r));
	assert_false(rdata_caa((const uint8_t *)"\0\6issue", 7, &r));
	assert_false(rdata_caa((const uint8_t *)"\0\5is ue", 7, &r));
	assert_false(rdata_caa((const uint8_t *)"\0\20issueissueissuei", 18, &r));
}

static void fingerprints(void **state)
{
	struct rdata_tlsa r;

	(void)state;
	assert_true(rdata_tlsa((const uint8_t *)"\3\1\1\xab\xcd", 5, &r));
	assert_int_equal(r.usage, 3);
	assert_int_equal(r.selector, 1);
	assert_int_equal(r.matching, 1);
	assert_int_equal(r.len, 2);
	assert_int_equal(r.data[1], 0xcd);
	assert_false(rdata_tlsa((const uint8_t *)"\3\1\1", 3, &r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_service_record),
		cmocka_unit_test(the_service_that_is_not_offered),
		cmocka_unit_test(no_prefix_of_a_record_is_a_record),
		cmocka_unit_test(bytes_behind_a_record_spoil_it),
		cmocka_unit_test(a_compressed_name_is_none),
		cmocka_unit_test(odd_bytes_in_a_name_are_escaped),
		cmocka_unit_test(the_longest_name_of_the_oddest_bytes_fits),
		cmocka_unit_test(who_may_issue_certificates),
		cmocka_unit_test(caa_records_that_are_none),
		cmocka_unit_test(fingerprints),
	};

	return cmocka_run_group_tests_name("rdata", tests, NULL, NULL);
}
