import java.net.InetAddress;
import java.util.List;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;

/** Java's own TLS as a client on 127.0.0.1: Client PORT SNI ALPN... */
class Client {
	public static void main(String[] args) throws Exception {
		try (SSLSocket socket = (SSLSocket) SSLSocketFactory.getDefault().createSocket(
				InetAddress.getByName("127.0.0.1"), Integer.parseInt(args[0]))) {
			SSLParameters parameters = socket.getSSLParameters();
			parameters.setServerNames(List.of(new SNIHostName(args[1])));
			parameters.setApplicationProtocols(List.of(args).subList(2, args.length).toArray(new String[0]));
			socket.setSSLParameters(parameters);
			socket.startHandshake();
		}
	}
}
