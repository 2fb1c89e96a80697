# Run by cpack on the tree that becomes the package: adds what only the Debian package has.
set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY})
set(doc ${root}/usr/share/doc/bivalve)

# put(file path): installs `file` in the package as `path`, readable for all.
function(put file path)
  file(READ ${CPACK_BIVALVE_DEBIAN}/${file} text)
  file(WRITE ${root}/${path} "${text}")
  file(CHMOD ${root}/${path} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endfunction()
put(bivalved.conf etc/bivalved.conf)
put(copyright usr/share/doc/bivalve/copyright)
put(changelog.Debian usr/share/doc/bivalve/changelog.Debian)
put(lintian-overrides usr/share/lintian/overrides/bivalve)

# Debian 12 has its units here.
file(MAKE_DIRECTORY ${root}/lib)
file(RENAME ${root}/usr/lib/systemd ${root}/lib/systemd)
file(GLOB left ${root}/usr/lib/*)
if(NOT left)
  file(REMOVE_RECURSE ${root}/usr/lib)
endif()

file(GLOB_RECURSE pages ${root}/usr/share/man/*.[0-9])
foreach(file IN LISTS pages ITEMS ${doc}/changelog.Debian)
  execute_process(COMMAND gzip -9nf ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()

# Sets modes that do not depend on the umask of the build.
file(GLOB_RECURSE directories LIST_DIRECTORIES true ${root}/*)
foreach(directory IN LISTS directories)
  if(IS_DIRECTORY ${directory})
    file(CHMOD ${directory} PERMISSIONS
      OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
  endif()
endforeach()
