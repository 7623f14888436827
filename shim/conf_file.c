/* Feeds an INI file, read by inih, to conf_set(). */

#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SECTION_MAX 49 /* inih cuts longer names without a word */
#define KEY_MAX     49

struct file {
	struct conf *conf;
	struct conf_error *err;
	FILE *stream;
	unsigned line;
	int result; /* the first failure; what follows it is not looked at */
};

static int fail_line(struct file *f, const char *text)
{
	if (f->result == 0) {
		f->result = -EINVAL;
		f->err->line = f->line;
		snprintf(f->err->text, sizeof(f->err->text), "%s", text);
	}
	return 0;
}

/*
 * inih's fgets(). It counts the lines, since inih does not tell its handler,
 * and refuses what inih would quietly take for something else.
 */
static char *read_line(char *buf, int size, void *arg)
{
	struct file *f = arg;
	size_t len;

	if (f->result != 0)
		return NULL;
	memset(buf, ' ', (size_t)size); /* so that the last 0 is the one that fgets() writes */
	if (fgets(buf, size, f->stream) == NULL) {
		if (ferror(f->stream)) {
			f->result = -errno;
			snprintf(f->err->text, sizeof(f->err->text), "cannot be read: %s", strerror(errno));
		}
		return NULL;
	}
	f->line++;
	len = (size_t)((char *)memrchr(buf, '\0', (size_t)size) - buf);

	if (strlen(buf) < len) {
		fail_line(f, "the line has a NUL byte");
		return NULL;
	}
	if (buf[len - 1] != '\n' && !feof(f->stream)) {
		fail_line(f, "the line is too long");
		return NULL;
	}
	if ((buf[0] == ' ' || buf[0] == '\t') && buf[strspn(buf, " \t\r\n")] != '\0' &&
	    strchr(";#", buf[strspn(buf, " \t")]) == NULL) {
		fail_line(f, "the line is indented; start it in the first column");
		return NULL;
	}
	if (buf[0] == '[' && strcspn(buf, "]") > SECTION_MAX + 1) {
		fail_line(f, "the section's name is too long");
		return NULL;
	}
	if (buf[0] != '[' && strcspn(buf, "=: \t\r\n") > KEY_MAX && strchr(";#", buf[0]) == NULL) {
		fail_line(f, "the key is too long");
		return NULL;
	}
	return buf;
}

static int handle_pair(void *arg, const char *section, const char *key, const char *value)
{
	struct file *f = arg;
	int ret;

	if (f->result != 0)
		return 0;
	ret = conf_set(f->conf, section, key, value, f->err);
	if (ret < 0) {
		f->result = ret;
		f->err->line = f->line;
	}
	return ret == 0;
}

int conf_read_fd(struct conf *c, int fd, struct conf_error *err)
{
	struct file f = {.conf = c, .err = err, .stream = fd >= 0 ? fdopen(fd, "r") : NULL};
	int bad_line;

	err->line = 0;
	if (f.stream == NULL) {
		int ret = fd >= 0 ? -errno : fd;

		if (fd >= 0)
			close(fd);
		snprintf(err->text, sizeof(err->text), "cannot be opened: %s", strerror(-ret));
		return ret;
	}

	bad_line = ini_parse_stream(read_line, &f, handle_pair, &f);
	/* inih goes on after a line that it cannot read, and what follows may fail because of that line. */
	if (bad_line > 0 && (f.result == 0 || (unsigned)bad_line < err->line)) {
		f.result = 0;
		f.line = (unsigned)bad_line;
		fail_line(&f, "neither a [section], nor key = value, nor a comment");
	}
	fclose(f.stream);
	return f.result;
}

int conf_read(struct conf *c, const char *path, struct conf_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return conf_read_fd(c, fd < 0 ? -errno : fd, err);
}
