#include "pipes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

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

static void pipe_free(struct pipes *p, struct pipe *pipe)
{
	p->made--;
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
	if (pipe->len > 0 || p->n == PIPES_STOCK) {
		pipe_free(p, pipe);
		return;
	}
	pipe->next = p->first;
	p->first = pipe;
	p->n++;
}

void pipes_close(struct pipes *p)
{
	while (p->n > 0)
		pipe_free(p, pipes_get(p));
}
