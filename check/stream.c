#include "stream.h"

#include "clean.h"
#include "mem.h"

#include <expat.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX 65536 /* of a stream's beginning; real ones take 2 KiB */
#define DEPTH_MAX 16
#define SEP '|' /* in no namespace below */

#define STREAMS "http://etherx.jabber.org/streams|"
#define STREAM_ERRORS "urn:ietf:params:xml:ns:xmpp-streams|"
#define TLS "urn:ietf:params:xml:ns:xmpp-tls|"
#define SASL "urn:ietf:params:xml:ns:xmpp-sasl|"
#define SASL2 "urn:xmpp:sasl:2|"
#define CHANNEL_BINDING "urn:xmpp:sasl-cb:0|"
#define DIALBACK "urn:xmpp:features:dialback|"

struct stream {
	XML_Parser parser;
	struct stream_said said;
	unsigned depth;
	size_t bytes;
	bool failed;
	bool in_error;
	bool in_mechanism, in_text;
	char word[96]; /* the text within one of them so far */
	size_t word_len;
};

static void add(struct stream_list *l, const char *word, size_t len)
{
	if (l->n < STREAM_LIST_MAX && len > 0)
		clean_text(l->v[l->n++], STREAM_WORD_MAX, word, len);
}

static bool named(const char *name, const char *wanted)
{
	return strcmp(name, wanted) == 0;
}

static void stop(struct stream *s)
{
	s->failed = true;
	XML_StopParser(s->parser, XML_FALSE);
}

static const char *attribute(const char **attributes, const char *name)
{
	for (size_t i = 0; attributes[i] != NULL; i += 2)
		if (named(attributes[i], name))
			return attributes[i + 1];
	return NULL;
}

static void on_start(void *arg, const char *name, const char **attributes)
{
	struct stream *s = arg;
	const char *type;

	if (++s->depth > DEPTH_MAX) {
		stop(s);
	} else if (s->depth == 1) {
		if (named(name, STREAMS "stream"))
			s->said.header = true;
		else
			stop(s);
	} else if (named(name, STREAMS "error")) {
		s->said.error = s->in_error = true;
	} else if (s->in_error && strncmp(name, STREAM_ERRORS, strlen(STREAM_ERRORS)) == 0) {
		const char *condition = name + strlen(STREAM_ERRORS);

		s->in_text = named(condition, "text");
		s->word_len = 0;
		if (!s->in_text && s->said.condition[0] == '\0')
			clean_text(s->said.condition, sizeof(s->said.condition), condition, strlen(condition));
	} else if (named(name, TLS "starttls")) {
		s->said.starttls = true;
	} else if (named(name, TLS "required")) {
		s->said.starttls_required = true;
	} else if (named(name, TLS "proceed")) {
		s->said.proceed = true;
	} else if (named(name, SASL "mechanism")) {
		s->in_mechanism = true;
		s->word_len = 0;
	} else if (named(name, SASL2 "authentication")) {
		s->said.sasl2 = true;
	} else if (named(name, DIALBACK "dialback")) {
		s->said.dialback = true;
	} else if (named(name, CHANNEL_BINDING "channel-binding")) {
		type = attribute(attributes, "type");
		if (type != NULL)
			add(&s->said.bindings, type, strlen(type));
	}
}

static void on_end(void *arg, const char *name)
{
	struct stream *s = arg;

	s->depth--;
	if (s->in_mechanism && named(name, SASL "mechanism")) {
		add(&s->said.mechanisms, s->word, s->word_len);
		s->in_mechanism = false;
	} else if (s->in_text && named(name, STREAM_ERRORS "text")) {
		clean_text(s->said.text, sizeof(s->said.text), s->word, s->word_len);
		s->in_text = false;
	} else if (named(name, STREAMS "features")) {
		s->said.features = true;
	} else if (named(name, STREAMS "error")) {
		s->in_error = false;
	}
}

static void on_text(void *arg, const char *text, int len)
{
	struct stream *s = arg;

	for (int i = 0; (s->in_mechanism || s->in_text) && i < len && s->word_len < sizeof(s->word) - 1; i++)
		s->word[s->word_len++] = text[i];
}

/* RFC 6120 section 11.1: no document type in a stream. So there are no entities that could grow. */
static void on_doctype(void *arg, const char *name, const char *system, const char *public, int internal)
{
	(void)name;
	(void)system;
	(void)public;
	(void)internal;
	stop(arg);
}

struct stream *stream_new(void)
{
	struct stream *s = mem_new(sizeof(*s));

	s->parser = XML_ParserCreateNS("UTF-8", SEP);
	if (s->parser == NULL)
		mem_new((size_t)-1); /* says that there is no memory */
	/* Otherwise it keeps the end of a tag that came in pieces to itself until more comes. Nothing may come, and the
	 * quadratic work that this protects from is bounded by BYTES_MAX. */
	XML_SetReparseDeferralEnabled(s->parser, XML_FALSE);
	XML_SetUserData(s->parser, s);
	XML_SetElementHandler(s->parser, on_start, on_end);
	XML_SetCharacterDataHandler(s->parser, on_text);
	XML_SetStartDoctypeDeclHandler(s->parser, on_doctype);
	return s;
}

bool stream_feed(struct stream *s, const char *bytes, size_t len)
{
	if (s->failed)
		return false;
	if (len > BYTES_MAX - s->bytes) {
		s->failed = true;
		return false;
	}
	s->bytes += len;
	if (XML_Parse(s->parser, bytes, (int)len, XML_FALSE) == XML_STATUS_ERROR)
		s->failed = true;
	return !s->failed;
}

const struct stream_said *stream_said(const struct stream *s)
{
	return &s->said;
}

void stream_free(struct stream *s)
{
	if (s == NULL)
		return;
	XML_ParserFree(s->parser);
	free(s);
}
