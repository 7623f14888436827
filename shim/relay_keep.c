/* Takes relays apart and puts them together again, in this process or another one. */

#include "relay.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENT, BACKEND };

static void tell(const struct relay *r, struct relay_parts *ret)
{
	for (int i = CLIENT; i <= BACKEND; i++) {
		const struct pipe *pipe = r->pipe[i];

		ret->side[i] = r->side[i].fd;
		ret->pipe[i][0] = pipe != NULL ? pipe->fd[0] : -1;
		ret->pipe[i][1] = pipe != NULL ? pipe->fd[1] : -1;
		ret->broken[i] = r->flow[!i].broken;
	}
}

/* A pipe for this direction alone. */
static int own_pipe(struct relay *r, int from)
{
	/* What was made of a direction that has ended is not asked any more. */
	if (r->pipe[from] == NULL && !r->flow[from].ended) {
		r->pipe[from] = pipes_make(&r->env->pipes);
		if (r->pipe[from] == NULL)
			return -ENOMEM;
	}
	if (r->pipe[from] != NULL)
		pipes_single(&r->env->pipes, r->pipe[from]);
	return 0;
}

int relay_keep(struct relay *r, struct relay_parts *ret)
{
	int on = 1;

	if (r->starting)
		return -EAGAIN;
	if (!r->kept) {
		for (int from = CLIENT; from <= BACKEND; from++)
			if (own_pipe(r, from) < 0)
				return -ENOMEM;
		/* Splice leaves small pieces to Nagle's algorithm. */
		for (int side = CLIENT; side <= BACKEND; side++)
			setsockopt(r->side[side].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		r->kept = r->copied = true;
	}
	tell(r, ret);
	return 0;
}

void relay_unkeep(struct relay *r)
{
	r->kept = false;
}

bool relay_give(struct relay *r, struct relay_parts *ret)
{
	*ret = (struct relay_parts){.side = {r->side[CLIENT].fd, -1}, .pipe = {{-1, -1}, {-1, -1}}};
	/* Others will have the sockets: closing them would not take them out of our epoll set. */
	loop_del(r->env->loop, &r->side[CLIENT]);
	loop_del(r->env->loop, &r->side[BACKEND]);
	if (r->starting) {
		r->side[CLIENT].fd = -1;
		relay_close(r);
		return false;
	}
	for (int from = CLIENT; from <= BACKEND; from++)
		if (r->pipe[from] != NULL && r->pipe[from]->len == 0 && !r->kept) {
			pipes_put(&r->env->pipes, r->pipe[from]);
			r->pipe[from] = NULL;
		}
	tell(r, ret);
	for (int i = CLIENT; i <= BACKEND; i++) {
		int fd[2];

		r->side[i].fd = -1;
		if (r->pipe[i] != NULL)
			pipes_release(&r->env->pipes, r->pipe[i], fd);
		r->pipe[i] = NULL;
	}
	return true;
}

int relay_adopt(struct relay *r, struct relay_env *env, const struct relay_parts *parts)
{
	int err = 0;

	*r = (struct relay){
		.env = env,
		.side = {{.fd = parts->side[CLIENT]}, {.fd = parts->side[BACKEND]}},
		.copied = true, /* whoever kept it may be slow to let go */
		.active = (uint32_t)(loop_now(env->loop) / 1000),
	};
	for (int from = CLIENT; from <= BACKEND; from++) {
		struct relay_flow *f = &r->flow[from];

		f->broken = parts->broken[!from];
		f->sent = true;
		if (parts->pipe[from][0] < 0)
			continue;
		r->pipe[from] = pipes_adopt(&env->pipes, parts->pipe[from]);
		if (r->pipe[from] == NULL)
			err = -EBADMSG;
		else
			f->blocked = r->pipe[from]->len > 0; /* the other side decides when it goes on */
	}
	/* Whether a side has ended, and was told so, shows again: reading its end and shutdown(2) do no harm twice. */
	if (err == 0)
		err = relay_watch(r);
	if (err < 0)
		relay_close(r);
	return err;
}
