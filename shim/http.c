#include "http.h"

#include <string.h>
#include <strings.h>

/* A part of what was read. */
struct span {
	const char *p;
	size_t len;
};

/* The next line, without its end, which is LF or CRLF. False: it has none yet. */
static bool next_line(struct span *rest, struct span *line)
{
	const char *end = memchr(rest->p, '\n', rest->len);

	if (end == NULL)
		return false;
	line->p = rest->p;
	line->len = (size_t)(end - rest->p);
	rest->p += line->len + 1;
	rest->len -= line->len + 1;
	if (line->len > 0 && line->p[line->len - 1] == '\r')
		line->len--;
	return true;
}

/* Cuts off what stands before the next blank, and the blank. False: there is none. */
static bool next_word(struct span *line, struct span *word)
{
	const char *end = memchr(line->p, ' ', line->len);

	if (end == NULL)
		return false;
	word->p = line->p;
	word->len = (size_t)(end - line->p);
	line->p += word->len + 1;
	line->len -= word->len + 1;
	return true;
}

static bool is(struct span s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

/* Upper and lower case are the same. */
static bool starts_with(struct span s, const char *text)
{
	return s.len >= strlen(text) && strncasecmp(s.p, text, strlen(text)) == 0;
}

static bool contains(struct span s, const char *text)
{
	for (; s.len > 0; s.p++, s.len--)
		if (starts_with(s, text))
			return true;
	return false;
}

static bool read_request_line(struct span line, struct http_request *ret)
{
	struct span method, target;
	const char *query;

	if (!next_word(&line, &method) || !next_word(&line, &target))
		return false;
	if (line.len != 8 || memcmp(line.p, "HTTP/1.", 7) != 0 || target.len == 0 || target.p[0] != '/')
		return false;
	query = memchr(target.p, '?', target.len);
	*ret = (struct http_request){
		.get = is(method, "GET"),
		.head = is(method, "HEAD"),
		.path = target.p,
		.path_len = query != NULL ? (size_t)(query - target.p) : target.len,
	};
	return true;
}

enum http_result http_read(const char *buf, size_t len, struct http_request *ret)
{
	struct span rest = {buf, len}, line;
	struct http_request r;

	if (!next_line(&rest, &line))
		return HTTP_NEED_MORE;
	if (!read_request_line(line, &r))
		return HTTP_MALFORMED;
	while (next_line(&rest, &line)) {
		if (line.len == 0) {
			*ret = r;
			return HTTP_OK;
		}
		if (starts_with(line, "accept:") && contains(line, "application/openmetrics-text"))
			r.openmetrics = true;
	}
	return HTTP_NEED_MORE;
}
