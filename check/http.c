#include "http.h"

#include "clean.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define FRAME_HEADER 9
#define FRAME_SETTINGS 4
#define RECORD_FIRST 20 /* change_cipher_spec, alert, handshake, application data: RFC 8446 section B.1 */
#define RECORD_LAST 23

static bool starts(const char *bytes, size_t len, const char *with)
{
	return len >= strlen(with) && memcmp(bytes, with, strlen(with)) == 0;
}

enum answer answer_kind(const char *bytes, size_t len)
{
	while (len > 0 && isspace((unsigned char)*bytes)) {
		bytes++;
		len--;
	}
	if (len == 0)
		return ANSWER_NONE;
	if (starts(bytes, len, "HTTP/"))
		return ANSWER_HTTP;
	if (starts(bytes, len, "<?xml") || starts(bytes, len, "<stream"))
		return ANSWER_XMPP;
	if (len >= FRAME_HEADER && bytes[0] == 0 && bytes[3] == FRAME_SETTINGS)
		return ANSWER_HTTP2;
	if (len >= 2 && bytes[0] >= RECORD_FIRST && bytes[0] <= RECORD_LAST && bytes[1] == 3)
		return ANSWER_TLS;
	return ANSWER_OTHER;
}

/* If the line is "Name: value", the value without blanks around it. */
static const char *value_of(const char *line, size_t len, const char *name, size_t *ret_len)
{
	size_t n = strlen(name);

	if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	line += n + 1;
	len -= n + 1;
	while (len > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	*ret_len = len;
	return line;
}

/* RFC 9110 section 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT", the only form that is sent today. */
static time_t date_of(const char *value, size_t len)
{
	char text[40];
	struct tm tm = {0};
	const char *end;

	if (len >= sizeof(text))
		return -1;
	memcpy(text, value, len);
	text[len] = '\0';
	end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	return end != NULL && *end == '\0' ? timegm(&tm) : -1;
}

static void read_line(const char *line, size_t len, struct http_said *ret)
{
	const char *value;
	size_t n;

	if ((value = value_of(line, len, "Server", &n)) != NULL)
		clean_text(ret->server, sizeof(ret->server), value, n);
	else if ((value = value_of(line, len, "Location", &n)) != NULL)
		clean_text(ret->location, sizeof(ret->location), value, n);
	else if ((value = value_of(line, len, "Date", &n)) != NULL)
		ret->date = date_of(value, n);
}

bool http_read(const char *bytes, size_t len, struct http_said *ret)
{
	struct http_said said = {.date = -1};
	const char *end = memmem(bytes, len, "\r\n\r\n", 4), *line, *next;

	/* "HTTP/1.1 200" */
	if (end == NULL || end - bytes < 12 || !starts(bytes, len, "HTTP/1.") || bytes[8] != ' ')
		return false;
	for (size_t i = 9; i < 12; i++) {
		if (bytes[i] < '0' || bytes[i] > '9')
			return false;
		said.status = said.status * 10 + (bytes[i] - '0');
	}
	if (said.status < 100)
		return false;
	for (line = bytes; line < end; line = next + 2) {
		next = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);
		read_line(line, (size_t)(next - line), &said);
	}
	*ret = said;
	return true;
}
