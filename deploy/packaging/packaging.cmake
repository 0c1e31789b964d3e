# What is installed where, and the Debian package: `cpack -G DEB` in the build folder.
include(GNUInstallDirs)
set(packaging ${CMAKE_SOURCE_DIR}/deploy/packaging)

install(TARGETS shelflife shelflife-decode shelflife-sample RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${packaging}/completion/shelflife.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME shelflife)
install(FILES ${packaging}/completion/_shelflife DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${packaging}/completion/shelflife.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/deploy/systemd/ DESTINATION lib/systemd/system FILES_MATCHING PATTERN "*.service")
install(FILES ${packaging}/shelflife.sysusers DESTINATION lib/sysusers.d RENAME shelflife.conf)
install(PROGRAMS ${CMAKE_SOURCE_DIR}/deploy/slurm/shelflife.sbatch DESTINATION ${CMAKE_INSTALL_DATADIR}/shelflife/slurm)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/deploy/kubernetes DESTINATION ${CMAKE_INSTALL_DATADIR}/shelflife)
install(FILES ${CMAKE_SOURCE_DIR}/deploy/quickstart.yaml DESTINATION ${CMAKE_INSTALL_DATADIR}/shelflife RENAME example.yaml)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")

# The pages are made with the program that was just built, so they cannot lag behind it; a cross-built program cannot be asked.
if(NOT CMAKE_CROSSCOMPILING)
  file(GLOB pages CONFIGURE_DEPENDS ${packaging}/man/*.roff)
  set(man_stamp ${CMAKE_BINARY_DIR}/man.stamp)
  add_custom_command(OUTPUT ${man_stamp}
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${CMAKE_BINARY_DIR}/man
    COMMAND bash ${packaging}/make-man $<TARGET_FILE:shelflife> ${packaging}/man ${CMAKE_BINARY_DIR}/man
    COMMAND ${CMAKE_COMMAND} -E touch ${man_stamp}
    DEPENDS shelflife shelflife-sample ${packaging}/make-man ${pages} VERBATIM)
  add_custom_target(man ALL DEPENDS ${man_stamp})
  install(DIRECTORY ${CMAKE_BINARY_DIR}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME shelflife)
set(CPACK_PACKAGE_VENDOR "Shelflife")
set(CPACK_PACKAGE_CONTACT "Shelflife maintainers <shelflife@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_PACKAGE_DESCRIPTION "Trains a classifier that says how long a video stays worth recommending, from pictures and text, on CPU machines: parameter servers and workers over ZeroMQ, with launchers for one machine, ssh, Slurm, Kubernetes and systemd.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "openssh-client, slurm-client, fonts-dejavu-core")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${packaging}/postinst)
include(CPack)
