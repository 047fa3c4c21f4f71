# cmake -D CASE=name -D SAXPY=program -P saxpy_test.cmake
cmake_minimum_required(VERSION 3.25)

# expect(<status> <regex of stdout> <regex of stderr> [arg ...])
function(expect want out_regex err_regex)
    execute_process(COMMAND ${SAXPY} ${ARGN} TIMEOUT 100
                    RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE err)
    list(JOIN ARGN " " args)
    if(NOT status STREQUAL "${want}" OR NOT out MATCHES "${out_regex}" OR
       NOT err MATCHES "${err_regex}")
        message(FATAL_ERROR "saxpy ${args}: should exit with ${want}, say ${out_regex}, and on stderr "
                            "${err_regex}\n"
                            "-- exit status: ${status}\n-- stdout:\n${out}-- stderr:\n${err}")
    endif()
endfunction()

function(test_cpu)
    expect(0 "y is at the host\nall 1048576 elements are right" "^$" cpu)
    expect(0 "all 1 elements are right: 10 .* = 19" "^$" cpu 1)
endfunction()

# Nothing has come back to the host before it is asked for.
function(test_virtual)
    foreach(count 1 255 256 257 100000)
        expect(0 "making 2 virtual ones\ny is [^\n]*GPU [01] .virtual GPU.*all ${count} elements are right"
               "^$" virtual ${count})
    endforeach()
    expect(0 "\ny is on GPU [01]" "^$" virtual 100000)
endfunction()

# On a GPU if there is one.
function(test_whatever)
    expect(0 "y is on GPU.*all 1048576 elements are right" "^$")
endfunction()

function(test_environment)
    set(ENV{MANTA_SIM_GPUS} 3)
    expect(0 "^y is on GPU [012] .virtual GPU.*are right" "^$" virtual)
endfunction()

function(test_options)
    foreach(bad 0 -1 1.5 x 1x 1000000001 99999999999999999999 cpus)
        expect(2 "^$" "what is '${bad}'.*usage: saxpy" "${bad}")
    endforeach()
endfunction()

cmake_language(CALL test_${CASE})
