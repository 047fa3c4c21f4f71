# Calls and thread-local variables inside the library do not go through tables: the library is never
# interposed, and its few bytes of thread-local storage are static.
set(MANTA_FAST_CALLS -ftls-model=initial-exec -fno-semantic-interposition)

# Functions that the CMakeLists of the modules, tests and samples are written with.

set(MANTA_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wpointer-arith -Wwrite-strings -Wvla
                   $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>
                   $<$<BOOL:${MANTA_WERROR}>:-Werror>)

# What code inside the library is compiled with; unit tests see it too.
add_library(manta_internal INTERFACE)
target_include_directories(manta_internal INTERFACE ${PROJECT_SOURCE_DIR}/include
                                                    ${PROJECT_SOURCE_DIR}
                                                    ${PROJECT_SOURCE_DIR}/runtime)
# _GNU_SOURCE= and not =1, so that a file may say "#define _GNU_SOURCE" itself; g++ has it anyway.
target_compile_definitions(manta_internal INTERFACE MANTA_ASSERT=${MANTA_ASSERT}
                           $<$<COMPILE_LANGUAGE:C>:_GNU_SOURCE=>)

# The public headers without the library, for tests that bring their own manta_submit() and so on.
add_library(manta_headers INTERFACE)
target_include_directories(manta_headers INTERFACE ${PROJECT_SOURCE_DIR}/include)

# manta_module(<name> [SOURCES file.c ...] [DEPENDS module ...] [LIBS target ...])
#
# One module of the runtime: an object library manta_<name>, folded into manta and manta_testing.
# DEPENDS are the modules whose headers it includes; runtime/LAYERS has to allow each of them.
# LIBS are libraries from outside. A module without sources is remembered, but builds nothing.
function(manta_module name)
    cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS;LIBS" ${ARGN})
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "manta_module(${name}): what is '${arg_UNPARSED_ARGUMENTS}'?")
    endif()
    mti_layer_of(${name} allowed)
    foreach(dep IN LISTS arg_DEPENDS)
        if(NOT dep IN_LIST allowed)
            message(FATAL_ERROR "runtime/LAYERS does not let ${name} use ${dep}")
        endif()
    endforeach()
    if(NOT arg_SOURCES)
        return()
    endif()
    add_library(manta_${name} OBJECT ${arg_SOURCES})
    target_link_libraries(manta_${name} PRIVATE manta_internal Threads::Threads ${arg_LIBS})
    target_compile_options(manta_${name} PRIVATE ${MANTA_WARNINGS} ${MANTA_FAST_CALLS})
    set_target_properties(manta_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON
                                                   C_VISIBILITY_PRESET hidden)
    set_property(GLOBAL APPEND PROPERTY MANTA_MODULE_OBJECTS $<TARGET_OBJECTS:manta_${name}>)
    set_property(GLOBAL APPEND PROPERTY MANTA_MODULE_LIBS ${arg_LIBS})
endfunction()

# Sets |out| to the words that runtime/LAYERS has behind "<name>:".
function(mti_layer_of name out)
    file(STRINGS ${PROJECT_SOURCE_DIR}/runtime/LAYERS line REGEX "^${name}:")
    if(NOT line)
        message(FATAL_ERROR "runtime/LAYERS has no line for ${name}")
    endif()
    string(REGEX REPLACE "^[^:]*:" "" line "${line}")
    string(STRIP "${line}" line)
    string(REGEX REPLACE "[ \t]+" ";" line "${line}")
    set(${out} "${line}" PARENT_SCOPE)
endfunction()

# Environment of every test that runs a program of ours.
set(MANTA_TEST_ENV
    "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1"
    "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/lsan.supp:print_suppressions=0"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp")

# manta_test([NAME] <folder/.../name> [SOURCES file ...] [LABELS label ...] [TIMEOUT seconds]
#            [LIBS target ...] [ARGS arg ...] [ENV VAR=value ...] [DEFINES ...] [C_STD n] [CXX_STD n]
#            [LINK manta|manta_testing|manta_headers] [NO_MAIN] [SERIAL])
#
# One test program, by the name of its file under tests/. Everything else has a default:
# SOURCES  <name>.cc, or <name>.c, which then has its own main; .cc files get GoogleTest's
#          (NO_MAIN: only its library).
# LABELS   the first folder.
# LINK     manta_testing, with the internals visible, for unit/ and fault/; else manta, with
#          nothing but the public headers in sight.
# DEFINES  besides MANTA_SOURCE_DIR, a string; fixtures lie in its tests/fixtures.
# TIMEOUT  60 s, five times that under a sanitizer. SERIAL: nothing else runs beside it.
function(manta_test)
    set(args ${ARGN})
    list(GET args 0 first)
    if(first STREQUAL NAME)
        list(POP_FRONT args)
    endif()
    list(POP_FRONT args name)
    cmake_parse_arguments(arg "NO_MAIN;SERIAL" "TIMEOUT;C_STD;CXX_STD;LINK"
                          "SOURCES;LABELS;LIBS;ARGS;ENV;DEFINES" ${args})
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "manta_test(${name}): what is '${arg_UNPARSED_ARGUMENTS}'?")
    endif()
    string(REGEX MATCH "^[^/]+" folder ${name})
    if(NOT arg_SOURCES)
        set(arg_SOURCES ${name}.cc)
        if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${name}.cc)
            set(arg_SOURCES ${name}.c)
        endif()
    endif()
    if(NOT arg_LABELS)
        set(arg_LABELS ${folder})
    endif()
    if(NOT arg_LINK)
        set(arg_LINK manta)
        if(folder MATCHES "^(unit|fault)$")
            set(arg_LINK manta_testing)
        endif()
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    if(MANTA_SANITIZE)
        math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 5")
    endif()

    string(MAKE_C_IDENTIFIER "test_${name}" target)
    get_filename_component(dir ${name} DIRECTORY)
    get_filename_component(base ${name} NAME)
    add_executable(${target} ${arg_SOURCES})
    set_target_properties(${target} PROPERTIES OUTPUT_NAME ${base}
                          RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/${dir})
    foreach(lang C CXX)
        if(arg_${lang}_STD)
            set_target_properties(${target} PROPERTIES ${lang}_STANDARD ${arg_${lang}_STD})
        endif()
    endforeach()
    target_compile_options(${target} PRIVATE ${MANTA_WARNINGS})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
    target_compile_definitions(${target} PRIVATE
                               MANTA_SOURCE_DIR="${PROJECT_SOURCE_DIR}" ${arg_DEFINES})
    target_link_libraries(${target} PRIVATE ${arg_LINK} Threads::Threads ${arg_LIBS})
    if(arg_SOURCES MATCHES "\\.cc")
        target_link_libraries(${target} PRIVATE GTest::gmock GTest::gtest)
        if(NOT arg_NO_MAIN)
            target_link_libraries(${target} PRIVATE GTest::gtest_main)
        endif()
    endif()

    add_test(NAME ${name} COMMAND ${target} ${arg_ARGS})
    set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT}
                         ENVIRONMENT "${MANTA_TEST_ENV};${arg_ENV}" SKIP_RETURN_CODE 77)
    if(arg_SERIAL)
        set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
    endif()
endfunction()

# manta_runtime_sources(<out>)
#
# The C files of all modules of the runtime, for what compiles them in its own way.
function(manta_runtime_sources out)
    set(sources "")
    file(STRINGS ${PROJECT_SOURCE_DIR}/runtime/LAYERS layers REGEX "^[a-z_]+:")
    foreach(layer IN LISTS layers)
        string(REGEX REPLACE ":.*" "" module "${layer}")
        if(NOT TARGET manta_${module})
            continue()
        endif()
        get_target_property(files manta_${module} SOURCES)
        get_target_property(folder manta_${module} SOURCE_DIR)
        foreach(file IN LISTS files)
            if(NOT file MATCHES "\\.c$")
                continue() # a generated header, say
            endif()
            cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${folder})
            list(APPEND sources ${file})
        endforeach()
    endforeach()
    set(${out} ${sources} PARENT_SCOPE)
endfunction()

# manta_script_test(<folder/name> [LABELS label ...] [TIMEOUT seconds] [ENV VAR=value ...] COMMAND ...)
#
# A test that is a command and not a program of ours. 77 as exit status means skipped.
function(manta_script_test name)
    cmake_parse_arguments(arg "" "TIMEOUT" "LABELS;ENV;COMMAND" ${ARGN})
    string(REGEX MATCH "^[^/]+" folder ${name})
    if(NOT arg_LABELS)
        set(arg_LABELS ${folder})
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    add_test(NAME ${name} COMMAND ${arg_COMMAND})
    set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT}
                         ENVIRONMENT "${arg_ENV}" SKIP_RETURN_CODE 77)
endfunction()

# manta_sample(<name> SOURCES file ... [LIBS target ...] [DEFINES ...] [ARGS arg ...]
#              [TIMEOUT seconds] [NO_TEST])
#
# One sample program in bin/, built against nothing but the public headers. It also runs as the test
# samples/<name> with ARGS and has to exit with 0.
function(manta_sample name)
    cmake_parse_arguments(arg "NO_TEST" "TIMEOUT" "SOURCES;LIBS;ARGS;DEFINES" ${ARGN})
    add_executable(${name} ${arg_SOURCES})
    target_compile_options(${name} PRIVATE ${MANTA_WARNINGS})
    target_compile_definitions(${name} PRIVATE ${arg_DEFINES})
    target_link_libraries(${name} PRIVATE manta::manta ${arg_LIBS})
    set_target_properties(${name} PROPERTIES
                          RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
    if(arg_NO_TEST)
        return()
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    if(MANTA_SANITIZE)
        math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 5")
    endif()
    add_test(NAME samples/${name} COMMAND ${name} ${arg_ARGS})
    set_tests_properties(samples/${name} PROPERTIES LABELS samples TIMEOUT ${arg_TIMEOUT}
                         ENVIRONMENT "${MANTA_TEST_ENV}")
endfunction()
