// Tells the service manager how the service is (sd_notify(3)), without its library: a datagram to
// NOTIFY_SOCKET.
#pragma once

#include <chrono>
#include <string_view>

namespace bivalve::appliance {

// Whether a service manager waits for it (systemd with Type=notify). The service then stays the process that
// was started.
bool ServiceManagerListens();

// Sends a state such as "READY=1" or "STOPPING=1". Does nothing when nobody listens. Never waits.
void NotifyServiceManager(std::string_view state);

// RELOADING=1 with the time that sd_notify(3) wants beside it; READY=1 follows when it is over.
void NotifyReloading();

// The time without WATCHDOG=1 after which the service manager takes the service for hung; 0: it does not
// look.
std::chrono::microseconds WatchdogInterval();

}  // namespace bivalve::appliance
