#include "pipes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SMALL_SIZE 16384  /* four pages: one of a relay's own, as long as it has little to do */
#define LARGE_SIZE 262144 /* and when it has much */
#define SKIP 64 /* after a failure: making a pipe in vain costs five calls of the kernel */

/*
 * The first few are large, since those serve bulk, and large ones save calls.
 * All pipes of a user together must not have too many pages, pipe(7),
 * pipe-user-pages-soft: so the more there are the smaller they get.
 */
static const struct {
	size_t made;
	int size;
} sizes[] = {{16, 1048576}, {48, 262144}};

static size_t shared(const struct pipes *p)
{
	return p->made - p->singles;
}

static void pipe_free(struct pipes *p, struct pipe *pipe)
{
	p->made--;
	p->singles -= pipe->single;
	close(pipe->fd[0]);
	close(pipe->fd[1]);
	free(pipe);
}

static struct pipe *pipe_new(struct pipes *p)
{
	struct pipe *pipe = malloc(sizeof(*pipe));
	int size = -1;

	if (pipe == NULL)
		return NULL;
	*pipe = (struct pipe){0};
	if (pipe2(pipe->fd, O_CLOEXEC | O_NONBLOCK) < 0) {
		free(pipe);
		return NULL;
	}
	p->made++;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && size < 0; i++)
		if (p->made <= sizes[i].made)
			size = fcntl(pipe->fd[1], F_SETPIPE_SZ, sizes[i].size);
	/* Beyond the limit growing is refused, and new pipes have one or two pages. */
	if (size < 0)
		size = fcntl(pipe->fd[1], F_GETPIPE_SZ);
	if (size < PIPES_ROOM) {
		pipe_free(p, pipe);
		return NULL;
	}
	pipe->size = (size_t)size;
	return pipe;
}

bool pipes_ready(struct pipes *p)
{
	struct pipe *pipe;

	if (p->first != NULL)
		return true;
	if (p->max > 0 && shared(p) >= p->max)
		return false;
	if (p->skip > 0) {
		p->skip--;
		return false;
	}
	pipe = pipe_new(p);
	if (pipe == NULL)
		p->skip = SKIP;
	pipes_put(p, pipe);
	return pipe != NULL;
}

struct pipe *pipes_get(struct pipes *p)
{
	struct pipe *pipe;

	if (!pipes_ready(p))
		return NULL;
	pipe = p->first;
	p->first = pipe->next;
	p->n--;
	return pipe;
}

void pipes_put(struct pipes *p, struct pipe *pipe)
{
	if (pipe == NULL)
		return;
	if (pipe->len > 0 || pipe->single || p->n == PIPES_STOCK || (p->max > 0 && shared(p) > p->max)) {
		pipe_free(p, pipe);
		return;
	}
	pipe->next = p->first;
	p->first = pipe;
	p->n++;
}

struct pipe *pipes_adopt(struct pipes *p, const int fd[2])
{
	struct pipe *pipe = malloc(sizeof(*pipe));
	int size = fcntl(fd[1], F_GETPIPE_SZ), len;

	if (pipe == NULL || size < 0 || fcntl(fd[0], F_GETPIPE_SZ) != size || ioctl(fd[0], FIONREAD, &len) < 0) {
		free(pipe);
		close(fd[0]);
		close(fd[1]);
		return NULL;
	}
	*pipe = (struct pipe){.fd = {fd[0], fd[1]}, .len = (size_t)len, 
			      .size = (size_t)size, .single = true};
	p->made++;
	p->singles++;
	return pipe;
}

struct pipe *pipes_make(struct pipes *p)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0)
		return NULL;
	fcntl(fd[1], F_SETPIPE_SZ, SMALL_SIZE); /* fails if it is even smaller and may not grow */
	return pipes_adopt(p, fd);
}

void pipes_single(struct pipes *p, struct pipe *pipe)
{
	p->singles += !pipe->single;
	pipe->single = true;
}

void pipes_grow(struct pipe *pipe)
{
	int size;

	if (pipe->size >= LARGE_SIZE)
		return;
	size = fcntl(pipe->fd[1], F_SETPIPE_SZ, LARGE_SIZE);
	if (size > 0)
		pipe->size = (size_t)size;
}

void pipes_release(struct pipes *p, struct pipe *pipe, int fd[2])
{
	fd[0] = pipe->fd[0];
	fd[1] = pipe->fd[1];
	p->made--;
	p->singles -= pipe->single;
	free(pipe);
}

void pipes_close(struct pipes *p)
{
	while (p->n > 0)
		pipe_free(p, pipes_get(p));
}
