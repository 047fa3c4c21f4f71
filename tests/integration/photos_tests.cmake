# Runs the photos sample as its users do. Each case is a section of photos_test.cmake.
set(timeout 300)
if(MANTA_SANITIZE)
    set(timeout 900)
endif()
foreach(case whole effects workers damaged nothing options gpu)
    manta_script_test(integration/photos_${case} TIMEOUT ${timeout} ENV ${MANTA_TEST_ENV}
        COMMAND ${CMAKE_COMMAND} -D CASE=${case} -D PHOTOS=$<TARGET_FILE:photos>
                -D DIR=${CMAKE_CURRENT_BINARY_DIR}/photos_${case}
                -P ${CMAKE_CURRENT_LIST_DIR}/photos_test.cmake)
endforeach()

manta_script_test(integration/photos_sim TIMEOUT ${timeout} ENV ${MANTA_TEST_ENV} MANTA_SIM_GPUS=2
    COMMAND ${CMAKE_COMMAND} -D CASE=sim -D PHOTOS=$<TARGET_FILE:photos>
            -D DIR=${CMAKE_CURRENT_BINARY_DIR}/photos_sim
            -P ${CMAKE_CURRENT_LIST_DIR}/photos_test.cmake)

set(photos ${PROJECT_SOURCE_DIR}/samples/photos)
manta_test(unit/samples/photos_test LINK manta_headers LIBS JPEG::JPEG PNG::PNG TIMEOUT 120
           SOURCES unit/samples/photos_test.cc ${photos}/picture.c ${photos}/exif.c)
target_include_directories(test_unit_samples_photos_test PRIVATE ${PROJECT_SOURCE_DIR}/samples)
target_compile_definitions(test_unit_samples_photos_test PRIVATE
                           $<$<COMPILE_LANGUAGE:C>:_GNU_SOURCE>)
