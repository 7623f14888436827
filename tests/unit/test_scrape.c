#include "scrape.h"

#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define GET "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

struct fixture {
	struct loop *loop;
	struct scrape *scrape;
	struct addr_endpoint addr;
	size_t size;     /* of the document */
	bool openmetrics;
	int written;     /* documents */
};

static void write_document(void *arg, FILE *out, bool openmetrics)
{
	struct fixture *f = arg;

	f->openmetrics = openmetrics;
	f->written++;
	for (size_t i = 0; i < f->size; i++)
		fputc('a' + (int)(i % 26), out);
}

static void set_up(struct fixture *f, const char *address)
{
	int fd;

	*f = (struct fixture){.size = 100};
	assert_int_equal(addr_parse_endpoint(address, &f->addr), 0);
	if (f->addr.u.sa.sa_family == AF_INET) /* any free port */
		f->addr.u.in.sin_port = 0;
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(scrape_new(f->loop, write_document, f, &f->scrape), 0);
	assert_int_equal(scrape_open(&f->addr, &fd), 0);
	if (f->addr.u.sa.sa_family == AF_INET)
		assert_int_equal(getsockname(fd, &f->addr.u.sa, &f->addr.len), 0);
	scrape_use(f->scrape, fd, &f->addr);
}

static void tear_down(struct fixture *f)
{
	scrape_free(f->scrape);
	loop_free(f->loop);
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Runs the loop and reads until the other side has ended. 0-terminated; the caller frees it. */
static char *read_answer(struct fixture *f, int fd, size_t *ret_len)
{
	size_t len = 0, cap = 4096;
	char *answer = malloc(cap);

	assert_non_null(answer);
	for (int i = 0; i < WAIT_MS / 2; i++) {
		ssize_t n = read(fd, answer + len, cap - len - 1);

		if (n == 0) {
			answer[len] = '\0';
			if (ret_len != NULL)
				*ret_len = len;
			return answer;
		}
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			run_for(f->loop, 2);
			continue;
		}
		len += (size_t)n;
		if (cap - len < 2048) {
			cap *= 2;
			answer = realloc(answer, cap);
			assert_non_null(answer);
		}
	}
	fail_msg("no end of the answer");
	return NULL;
}

static void answers(struct fixture *f, const char *request, const char *beginning, size_t body)
{
	int fd = connect_to(&f->addr);
	char *answer, *end;
	size_t len;

	say(fd, request);
	answer = read_answer(f, fd, &len);
	if (strncmp(answer, beginning, strlen(beginning)) != 0)
		fail_msg("'%s' gave '%s'", request, answer);
	end = strstr(answer, "\r\n\r\n");
	assert_non_null(end);
	assert_int_equal(len - (size_t)(end + 4 - answer), body);
	assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
	free(answer);
	close(fd);
	run_for(f->loop, 2);
}

static void the_document_is_served_in_the_wanted_format(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, "127.0.0.1:1");
	answers(&f, GET, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 100\r\n", 100);
	assert_false(f.openmetrics);
	answers(&f, "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n", 100);
	assert_true(f.openmetrics);
	answers(&f, "HEAD /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", 0);
	assert_int_equal(f.written, 3);
	tear_down(&f);
}

static void other_requests_are_told_what_is_wrong(void **state)
{
	char *large = malloc(5001);
	struct fixture f;

	(void)state;
	assert_non_null(large);
	memset(large, 'x', 5000);
	memcpy(large, "GET /metrics HTTP/1.1\r\n", 23);
	large[5000] = '\0';
	set_up(&f, "127.0.0.1:1");
	answers(&f, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", 0);
	answers(&f, "GET /metricsx HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", 0);
	answers(&f, "POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\n", 0);
	answers(&f, "\x16\x03\x01\x02\n", "HTTP/1.1 400 Bad Request\r\n", 0);
	answers(&f, large, "HTTP/1.1 431 Request Header Fields Too Large\r\n", 0);
	assert_int_equal(f.written, 0);
	free(large);
	tear_down(&f);
}

static void a_request_in_pieces_is_put_together(void **state)
{
	struct fixture f;
	char *answer;
	int fd;

	(void)state;
	set_up(&f, "127.0.0.1:1");
	fd = connect_to(&f.addr);
	run_for(f.loop, 5);
	for (const char *p = GET; *p != '\0'; p++) {
		assert_int_equal(f.written, 0);
		assert_int_equal(write(fd, p, 1), 1);
		run_for(f.loop, 1);
	}
	answer = read_answer(&f, fd, NULL);
	assert_int_equal(strncmp(answer, "HTTP/1.1 200", 12), 0);
	free(answer);
	close(fd);
	tear_down(&f);
}

static void a_large_document_waits_for_a_slow_reader(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, "127.0.0.1:1");
	f.size = 20 * 1024 * 1024;
	answers(&f, GET, "HTTP/1.1 200 OK\r\n", f.size);
	tear_down(&f);
}

static void a_client_that_leaves_at_any_time_is_forgotten(void **state)
{
	struct fixture f;
	int fd;

	(void)state;
	set_up(&f, "127.0.0.1:1");
	f.size = 20 * 1024 * 1024;
	for (int how = 0; how < 5; how++) {
		fd = connect_to(&f.addr);
		run_for(f.loop, 5);
		if (how == 1)
			say(fd, "GET /met");
		if (how > 1)
			say(fd, GET);
		run_for(f.loop, 10);
		if (how == 3)
			close_reset(fd);
		else
			close(fd);
		run_for(f.loop, 5);
	}
	f.size = 5;
	answers(&f, GET, "HTTP/1.1 200 OK\r\n", 5);
	tear_down(&f);
}

static void only_so_many_are_served_at_a_time_and_none_for_ever(void **state)
{
	struct fixture f;
	char *answer;
	int fd[12];

	(void)state;
	set_up(&f, "127.0.0.1:1");
	for (int i = 0; i < 12; i++) {
		fd[i] = connect_to(&f.addr);
		run_for(f.loop, 3);
	}
	/* The last ones have to wait, though they are quick. */
	say(fd[11], GET);
	run_for(f.loop, 50);
	assert_int_equal(f.written, 0);
	/* Until those that say nothing have had their time. */
	answer = read_answer(&f, fd[11], NULL);
	assert_int_equal(strncmp(answer, "HTTP/1.1 200", 12), 0);
	free(answer);
	run_for(f.loop, 200);
	assert_eof(fd[0]);
	assert_eof(fd[7]);
	for (int i = 0; i < 12; i++)
		close(fd[i]);
	tear_down(&f);
}

static void without_memory_or_descriptors_a_client_is_ended_or_waits(void **state)
{
	struct fixture f;
	int fd;

	(void)state;
	set_up(&f, "127.0.0.1:1");
	for (int how = 0; how < 6; how++) {
		bool waits = how == 3 || how == 5;

		fd = connect_to(&f.addr);
		if (how == 0)
			fail_calls(CALL_MEMSTREAM, 0, 1, ENOMEM); /* the document's */
		else if (how == 1)
			fail_calls(CALL_MEMSTREAM, 1, 1, ENOMEM); /* the answer's */
		else if (how == 2)
			fail_calls(CALL_CALLOC, 0, 1, ENOMEM);
		else if (how == 3)
			fail_calls(CALL_ACCEPT, 0, 1, EMFILE);
		else if (how == 4)
			fail_calls(CALL_EPOLL_CTL, 0, 1, ENOMEM);
		else
			fail_calls(CALL_ACCEPT, 0, 1, ECONNABORTED);
		say(fd, GET);
		if (waits) {
			free(read_answer(&f, fd, NULL));
		} else {
			run_for(f.loop, 20);
			if (recv(fd, &(char){0}, 1, 0) != 0 && errno != ECONNRESET)
				fail_msg("%d: not ended", how);
		}
		assert_int_equal(fail_none(), 0);
		close(fd);
		run_for(f.loop, 5);
		if (!waits) /* the accepting goes on, after a pause if need be */
			answers(&f, GET, "HTTP/1.1 200 OK\r\n", 100);
	}
	tear_down(&f);
	fail_calls(CALL_MALLOC, 0, 1, ENOMEM);
	assert_int_equal(scrape_new(NULL, write_document, NULL, &f.scrape), -ENOMEM);
	scrape_free(NULL);
}

static void a_listener_that_cannot_be_watched_is_tried_again(void **state)
{
	struct fixture f;
	int fd;

	(void)state;
	set_up(&f, "127.0.0.1:1");
	scrape_use(f.scrape, -1, NULL);
	assert_int_equal(scrape_open(&f.addr, &fd), 0);
	fail_calls(CALL_EPOLL_CTL, 0, 1, ENOMEM);
	scrape_use(f.scrape, fd, &f.addr);
	assert_int_equal(fail_none(), 0);
	answers(&f, GET, "HTTP/1.1 200 OK\r\n", 100);
	tear_down(&f);
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_mode : 0;
}

static void set_up_unix(struct fixture *f)
{
	char text[ADDR_ENDPOINT_TEXT_MAX];
	struct addr_endpoint e;

	dir_make();
	e = dir_endpoint("m");
	set_up(f, addr_endpoint_text(&e, text));
}

static void a_unix_socket_is_for_owner_and_group_and_goes_away(void **state)
{
	mode_t umask_before = umask(077);
	struct fixture f;

	(void)state;
	set_up_unix(&f);
	assert_int_equal(mode_of(dir_path("m")), S_IFSOCK | 0660);
	answers(&f, GET, "HTTP/1.1 200 OK\r\n", 100);
	tear_down(&f);
	assert_int_equal(mode_of(dir_path("m")), 0);
	umask(umask_before);
	dir_remove();
}

static void a_dead_socket_is_replaced_and_nothing_else_is(void **state)
{
	struct addr_endpoint e;
	int fd, other;
	FILE *file;

	(void)state;
	dir_make();
	e = dir_endpoint("m");
	close(unix_listen("m", SOCK_STREAM, 1)); /* leaves the file */
	assert_true(S_ISSOCK(mode_of(dir_path("m"))));
	assert_int_equal(scrape_open(&e, &fd), 0);
	assert_int_equal(scrape_open(&e, &other), -EADDRINUSE);
	scrape_discard(&e, fd);
	assert_int_equal(mode_of(dir_path("m")), 0);

	file = fopen(dir_path("m"), "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(scrape_open(&e, &fd), -ENOTSOCK);
	assert_true(S_ISREG(mode_of(dir_path("m"))));
	unlink(dir_path("m"));
	/* Somebody else's, of another type. */
	other = unix_listen("m", SOCK_SEQPACKET, 1);
	assert_int_equal(scrape_open(&e, &fd), -EPROTOTYPE);
	close(other);
	unlink(dir_path("m"));
	dir_remove();
	assert_int_equal(scrape_open(&e, &fd), -ENOENT);
}

static void what_cannot_be_opened_is_told(void **state)
{
	struct addr_endpoint e;
	int taken = tcp_listen(&e), fd = -7;

	(void)state;
	assert_int_equal(scrape_open(&e, &fd), -EADDRINUSE);
	close(taken);
	fail_calls(CALL_SOCKET, 0, 1, EMFILE);
	assert_int_equal(scrape_open(&e, &fd), -EMFILE);
	dir_make();
	e = dir_endpoint("m");
	close(unix_listen("m", SOCK_STREAM, 1));
	fail_calls(CALL_SOCKET, 1, 1, EMFILE);
	assert_int_equal(scrape_open(&e, &fd), -EMFILE);
	assert_int_equal(fail_none(), 0);
	unlink(dir_path("m"));
	dir_remove();
	assert_int_equal(fd, -7);
}

static void it_moves_to_another_address_and_its_clients_stay(void **state)
{
	struct addr_endpoint old, new;
	struct fixture f;
	char *answer;
	int fd, client;

	(void)state;
	set_up_unix(&f);
	old = f.addr;
	client = connect_to(&old);
	run_for(f.loop, 5);
	new = dir_endpoint("n");
	assert_int_equal(scrape_open(&new, &fd), 0);
	scrape_use(f.scrape, fd, &new);
	assert_int_equal(mode_of(dir_path("m")), 0);
	f.addr = new;
	answers(&f, GET, "HTTP/1.1 200 OK\r\n", 100);
	say(client, GET);
	answer = read_answer(&f, client, NULL);
	assert_int_equal(strncmp(answer, "HTTP/1.1 200", 12), 0);
	free(answer);
	close(client);
	scrape_use(f.scrape, -1, NULL);
	assert_int_equal(mode_of(dir_path("n")), 0);
	tear_down(&f);
	dir_remove();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(the_document_is_served_in_the_wanted_format),
		TEST(other_requests_are_told_what_is_wrong),
		TEST(a_request_in_pieces_is_put_together),
		TEST(a_large_document_waits_for_a_slow_reader),
		TEST(a_client_that_leaves_at_any_time_is_forgotten),
		TEST(only_so_many_are_served_at_a_time_and_none_for_ever),
		TEST(without_memory_or_descriptors_a_client_is_ended_or_waits),
		TEST(a_listener_that_cannot_be_watched_is_tried_again),
		TEST(a_unix_socket_is_for_owner_and_group_and_goes_away),
		TEST(a_dead_socket_is_replaced_and_nothing_else_is),
		TEST(what_cannot_be_opened_is_told),
		TEST(it_moves_to_another_address_and_its_clients_stay),
	};

	return cmocka_run_group_tests_name("scrape", tests, group_begin, NULL);
}
