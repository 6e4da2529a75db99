// The version of the library, the tool and the files they write. CMake reads it from here.
#pragma once

#define WINNOW_VERSION "0.1.0"
