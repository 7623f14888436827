/* wolfSSL as a client on 127.0.0.1: wolfssl PORT SNI ALPN[,ALPN...] */

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	WOLFSSL_CTX *ctx;
	WOLFSSL *ssl;

	if (argc != 4)
		return 2;
	to.sin_port = htons((unsigned short)atoi(argv[1]));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		return 1;
	wolfSSL_Init();
	ctx = wolfSSL_CTX_new(wolfSSLv23_client_method());
	wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_NONE, NULL);
	ssl = wolfSSL_new(ctx);
	if (wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, argv[2], (unsigned short)strlen(argv[2])) != WOLFSSL_SUCCESS ||
	    wolfSSL_UseALPN(ssl, argv[3], (unsigned)strlen(argv[3]), WOLFSSL_ALPN_CONTINUE_ON_MISMATCH) != WOLFSSL_SUCCESS)
		return 1;
	wolfSSL_set_fd(ssl, fd);
	return wolfSSL_connect(ssl) != WOLFSSL_SUCCESS;
}
