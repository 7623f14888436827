"""libcurl as built with NSS, which no program of Debian 12 uses by itself: curl_nss.py PORT HOST"""

import ctypes
import sys

URL, RESOLVE, VERIFY_PEER, HTTP_VERSION, HTTP_2_TLS = 10002, 10203, 64, 84, 4

curl = ctypes.CDLL("libcurl-nss.so.4")
curl.curl_easy_init.restype = curl.curl_slist_append.restype = ctypes.c_void_p
curl.curl_slist_append.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
curl.curl_easy_perform.argtypes = [ctypes.c_void_p]
port, host = sys.argv[1:]
easy = ctypes.c_void_p(curl.curl_easy_init())
resolve = curl.curl_slist_append(None, f"{host}:{port}:127.0.0.1".encode())
curl.curl_easy_setopt(easy, RESOLVE, ctypes.c_void_p(resolve))
curl.curl_easy_setopt(easy, URL, ctypes.c_char_p(f"https://{host}:{port}/".encode()))
curl.curl_easy_setopt(easy, VERIFY_PEER, ctypes.c_long(0))
curl.curl_easy_setopt(easy, HTTP_VERSION, ctypes.c_long(HTTP_2_TLS))
curl.curl_easy_perform(easy)
