# What `cmake --install` installs and where (GNUInstallDirs), and the Debian package that `cpack -G DEB` makes from it.
# tools/package does both; appliance/debian/ has what only the package has.
include(GNUInstallDirs)
set(CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
# An installation builds only what is installed, not the tests and benchmarks.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)

install(TARGETS bivalved RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(TARGETS bivalvectl RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

# Not in the PATH, because they are for trials and measurements, and because Debian's clamsmtp and postfix have programs of
# these names. Under the name clamsmtpd the daemon replaces clamsmtpd.
set(BIVALVE_LIBEXECDIR ${CMAKE_INSTALL_LIBEXECDIR}/bivalve)
install(TARGETS smtp_source smtp_sink null_clamd RUNTIME DESTINATION ${BIVALVE_LIBEXECDIR})
install(CODE "
  file(RELATIVE_PATH daemon \"/${BIVALVE_LIBEXECDIR}\" \"/${CMAKE_INSTALL_SBINDIR}/bivalved\")
  file(CREATE_LINK \"\${daemon}\" \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${BIVALVE_LIBEXECDIR}/clamsmtpd\" SYMBOLIC)")

install(FILES appliance/man/bivalved.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
install(FILES appliance/man/bivalved.conf.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES appliance/man/bivalvectl.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES README.md appliance/man/stats.schema.json appliance/man/sessions.schema.json
  DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES appliance/completion/bivalvectl appliance/completion/bivalved
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES appliance/man/bivalved.conf DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(DIRECTORY appliance/examples/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(FILES appliance/systemd/bivalved-forking.service DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
# Units contain the full path of the daemon, which is known at installation. All of them except the forking one.
install(CODE "
  file(GLOB units \"${PROJECT_SOURCE_DIR}/appliance/systemd/bivalved.*\")
  foreach(unit IN LISTS units)
    file(READ \"\${unit}\" text)
    string(REPLACE \"/usr/sbin/\" \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_SBINDIR}/\" text \"\${text}\")
    string(REPLACE \"/usr/bin/bivalve\" \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/bivalve\" text \"\${text}\")
    get_filename_component(name \"\${unit}\" NAME)
    set(to \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/lib/systemd/system/\${name}\")
    file(WRITE \"\${to}\" \"\${text}\")
    file(CHMOD \"\${to}\" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
    message(STATUS \"Installing: \${to}\")
  endforeach()")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME bivalve)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "SMTP virus filter that scans with clamd")
set(CPACK_PACKAGE_DESCRIPTION "Bivalve stands between mail clients, or a mail server, and a mail server, has
clamd scan every message and lets through what is clean. It takes the place of
clamsmtpd 1.10, with the same configuration file and behaviour, and serves many
connections with one thread for each processor, on io_uring.
.
It needs Linux 6.1, and a clamd on this machine or elsewhere.")
set(CPACK_PACKAGE_CONTACT "Bivalve maintainers <maintainers@bivalve.example>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS ${CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION mail)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, init-system-helpers (>= 1.54~)")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS clamav-daemon)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${PROJECT_SOURCE_DIR}/appliance/debian/conffiles
  ${PROJECT_SOURCE_DIR}/appliance/debian/postinst
  ${PROJECT_SOURCE_DIR}/appliance/debian/prerm
  ${PROJECT_SOURCE_DIR}/appliance/debian/postrm)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/appliance/debian/stage.cmake)
set(CPACK_BIVALVE_DEBIAN ${PROJECT_SOURCE_DIR}/appliance/debian)
include(CPack)
