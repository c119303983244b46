"""The language model in C for processors with AVX-512 VNNI; see `engine.backends.native`."""
