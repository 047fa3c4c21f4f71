# Runs the saxpy sample as its users do. Each case is a section of saxpy_test.cmake.
foreach(case cpu virtual whatever environment options)
    manta_script_test(integration/saxpy_${case} TIMEOUT 120 ENV ${MANTA_TEST_ENV}
        COMMAND ${CMAKE_COMMAND} -D CASE=${case} -D SAXPY=$<TARGET_FILE:saxpy>
                -P ${CMAKE_CURRENT_LIST_DIR}/saxpy_test.cmake)
endforeach()
