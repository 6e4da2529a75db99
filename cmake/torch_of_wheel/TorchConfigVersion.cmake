# Whatever is asked for is answered by TorchConfig.cmake, which knows the version.
set(PACKAGE_VERSION "${PACKAGE_FIND_VERSION}")
set(PACKAGE_VERSION_COMPATIBLE TRUE)
