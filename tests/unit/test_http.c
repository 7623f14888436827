#include "http.h"

#include "support.h"

#include <string.h>

static enum http_result read_text(const char *text, struct http_request *ret)
{
	struct guarded g = guarded_copy((const uint8_t *)text, strlen(text));
	enum http_result result;

	memset(ret, 0x5a, sizeof(*ret));
	result = http_read((const char *)g.p, g.len, ret);
	if (result == HTTP_OK) /* a view into what is gone now */
		ret->path = text + (ret->path - (const char *)g.p);
	guarded_free(&g);
	return result;
}

static void assert_path(const struct http_request *r, const char *path)
{
	assert_int_equal(r->path_len, strlen(path));
	assert_memory_equal(r->path, path, r->path_len);
}

static void a_request_is_read(void **state)
{
	struct http_request r;

	(void)state;
	assert_int_equal(read_text("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", &r), HTTP_OK);
	assert_true(r.get);
	assert_false(r.head);
	assert_false(r.openmetrics);
	assert_path(&r, "/metrics");
	assert_int_equal(read_text("HEAD /metrics?a=/b HTTP/1.0\r\n\r\n", &r), HTTP_OK);
	assert_false(r.get);
	assert_true(r.head);
	assert_path(&r, "/metrics");
	assert_int_equal(read_text("DELETE / HTTP/1.1\n\n", &r), HTTP_OK);
	assert_false(r.get || r.head);
	assert_path(&r, "/");
	assert_int_equal(read_text("get / HTTP/1.1\n\n", &r), HTTP_OK);
	assert_false(r.get || r.head);
}

static void openmetrics_is_found_among_the_types(void **state)
{
	struct http_request r;

	(void)state;
	assert_int_equal(read_text("GET / HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n", &r),
			 HTTP_OK);
	assert_true(r.openmetrics);
	assert_int_equal(read_text("GET / HTTP/1.1\r\nX: y\r\nACCEPT:text/plain,Application/OpenMetrics-Text\r\nZ:\r\n\r\n", &r), HTTP_OK);
	assert_true(r.openmetrics);
	assert_int_equal(read_text("GET / HTTP/1.1\r\nAccept: text/plain\r\nX-Accept: application/openmetrics-text\r\n\r\n", &r), HTTP_OK);
	assert_false(r.openmetrics);
	assert_int_equal(read_text("GET / HTTP/1.1\r\nAccept: application/openmetrics-tex\r\n\r\n", &r), HTTP_OK);
	assert_false(r.openmetrics);
}

static void what_comes_after_the_head_is_not_looked_at(void **state)
{
	struct http_request r;

	(void)state;
	assert_int_equal(read_text("GET / HTTP/1.1\r\n\r\nAccept: application/openmetrics-text\r\n\r\n", &r), HTTP_OK);
	assert_false(r.openmetrics);
}

static void every_prefix_of_a_head_needs_more(void **state)
{
	static const char text[] = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n";
	struct http_request r;

	(void)state;
	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		struct guarded g = guarded_copy((const uint8_t *)text, n);

		assert_int_equal(http_read((const char *)g.p, g.len, &r), HTTP_NEED_MORE);
		guarded_free(&g);
	}
	assert_int_equal(read_text(text, &r), HTTP_OK);
}

static void what_is_no_request_is_malformed_as_soon_as_its_line_is_there(void **state)
{
	static const char *const bad[] = {
		"\r\n", "\n", "GET\r\n", "GET /\r\n", "GET / \r\n", "GET / HTTP/2.0\r\n", "GET / HTTP/1.10\r\n", "GET  HTTP/1.1\r\n",
		"GET http://x/ HTTP/1.1\r\n", "GET * HTTP/1.1\r\n", "/ HTTP/1.1\r\n", "GET /a b HTTP/1.1\r\n", "\x16\x03\x01\n",
		"GET / HTTP/1.1 \r\n",
	};
	struct http_request r;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (read_text(bad[i], &r) != HTTP_MALFORMED)
			fail_msg("'%s' was taken", bad[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_request_is_read),
		TEST(openmetrics_is_found_among_the_types),
		TEST(what_comes_after_the_head_is_not_looked_at),
		TEST(every_prefix_of_a_head_needs_more),
		TEST(what_is_no_request_is_malformed_as_soon_as_its_line_is_there),
	};

	return cmocka_run_group_tests_name("http", tests, group_begin, NULL);
}
