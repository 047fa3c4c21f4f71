# cmake -DWHAT=IMAGE|TABLE|CODE -DNAME=name -DFATBIN=x.fatbin -DPTX=x.ptx -DOUTPUT=x.c -P manta_embed.cmake
#
# Device code into a program. CODE: a source file, C or C++, with the image, a table of its kernels and
# their parameters as the PTX declares them, and a constructor that registers them. IMAGE: a header with
# mti_<name>_image[] and MTI_IMAGE_BYTES alone. TABLE: a header with the table alone.
cmake_minimum_required(VERSION 3.25)

file(SIZE ${FATBIN} image_bytes)
string(MAKE_C_IDENTIFIER ${NAME} id)

set(text "")
if(NOT WHAT STREQUAL "TABLE")
    # |image_bytes| stands here as text, so that a new image makes a new file.
    set(text "// Made from ${NAME}.cu; don't edit.
__asm__(\".pushsection .rodata\\n\"
        \".balign 64\\n\"
        \".globl mti_${id}_image\\n\"
        \".hidden mti_${id}_image\\n\"
        \".type mti_${id}_image, %object\\n\"
        \".size mti_${id}_image, ${image_bytes}\\n\"
        \"mti_${id}_image:\\n\"
        \".incbin \\\"${FATBIN}\\\"\\n\"
        \".popsection\\n\");
#ifdef __cplusplus
extern \"C\"
#endif
__attribute__((visibility(\"hidden\"))) extern const unsigned char mti_${id}_image[];
")
endif()

if(WHAT STREQUAL "IMAGE")
    string(APPEND text "#define MTI_IMAGE_BYTES ${image_bytes}u\n")
    file(WRITE ${OUTPUT} "${text}")
    return()
endif()

# .visible .entry name( .param .f32 name_param_0, .param .align 8 .b8 name_param_1[16] )
file(READ ${PTX} ptx)
string(REGEX REPLACE "//[^\n]*" "" ptx "${ptx}")
# ; would take the text apart as a list, and so would brackets.
string(REPLACE ";" " " ptx "${ptx}")
string(REPLACE "[" "<" ptx "${ptx}")
string(REPLACE "]" ">" ptx "${ptx}")
string(REGEX MATCHALL "\\.entry[ \t\r\n]+[A-Za-z0-9_$]+[ \t\r\n]*\\([^)]*\\)[^{]*{" entries "${ptx}")
if(NOT entries)
    message(FATAL_ERROR "${NAME}.cu has no kernel: no __global__ function is in it")
endif()

set(rows "")
set(count 0)
foreach(entry IN LISTS entries)
    string(REGEX MATCH "\\.entry[ \t\r\n]+([A-Za-z0-9_$]+)" ignored "${entry}")
    set(kernel ${CMAKE_MATCH_1})
    if(kernel MATCHES "^_Z")
        message(WARNING "${NAME}.cu: ${kernel} can only be launched by this name; is it meant to be extern \"C\"?")
    endif()
    string(REGEX MATCHALL "\\.param[^,)]*" params "${entry}")
    set(sizes "")
    foreach(param IN LISTS params)
        if(NOT param MATCHES "\\.[bfsu](8|16|32|64)[ \t].*${kernel}_param_[0-9]+(<([0-9]+)>)?")
            message(FATAL_ERROR "${NAME}.cu: what is parameter '${param}' of ${kernel}?")
        endif()
        math(EXPR size "${CMAKE_MATCH_1} / 8")
        if(CMAKE_MATCH_3)
            math(EXPR size "${size} * ${CMAKE_MATCH_3}")
        endif()
        string(APPEND sizes "${size}, ")
    endforeach()
    list(LENGTH params param_count)
    set(threads 0)
    if(entry MATCHES "\\.(maxntid|reqntid)[ \t]+([0-9]+)(, *([0-9]+))?(, *([0-9]+))?")
        set(threads ${CMAKE_MATCH_2})
        foreach(factor "${CMAKE_MATCH_4}" "${CMAKE_MATCH_6}")
            if(factor)
                math(EXPR threads "${threads} * ${factor}")
            endif()
        endforeach()
    endif()
    string(APPEND text "static const uint32_t arg_bytes_${count}[] = {${sizes}0};\n")
    string(APPEND rows "    {\"${kernel}\", NULL, arg_bytes_${count}, ${param_count}, ${threads}, NULL, NULL, NULL},\n")
    math(EXPR count "${count} + 1")
endforeach()

if(WHAT STREQUAL "TABLE")
    file(WRITE ${OUTPUT} "${text}static const manta_kernel_t kernels[] = {\n${rows}};\n")
    return()
endif()
file(WRITE ${OUTPUT} "#include <manta/kernel.h>\n\n${text}
static manta_kernel_t kernels[] = {\n${rows}};
static manta_code_t code = {\"${NAME}.fatbin\", mti_${id}_image, ${image_bytes}u, kernels, ${count}, 0, NULL};
__attribute__((constructor(101))) static void code_register(void)
{
    manta_code_register(&code);
}
")
