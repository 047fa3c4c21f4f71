# Runs the digits sample as its users do. Each case is a section of digits_test.cmake.
foreach(case whole tiles workers augment picture indefinite data options files gpus)
    manta_script_test(integration/digits_${case} TIMEOUT 300 ENV ${MANTA_TEST_ENV}
        COMMAND ${CMAKE_COMMAND} -D CASE=${case} -D DIGITS=$<TARGET_FILE:digits>
                -D DATA=${PROJECT_SOURCE_DIR}/samples/data/digits.csv.gz
                -D DIR=${CMAKE_CURRENT_BINARY_DIR}/digits_${case}
                -P ${CMAKE_CURRENT_LIST_DIR}/digits_test.cmake)
endforeach()
