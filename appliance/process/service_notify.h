// Tells the service manager the state of the service (sd_notify(3)), without its library: a datagram to
// NOTIFY_SOCKET.
#pragma once

#include <chrono>
#include <string_view>

namespace bivalve::appliance {

// Whether a service manager waits for such datagrams (systemd with Type=notify). The service must then stay
// in the process that was started.
bool ServiceManagerListens();

// Sends a state such as "READY=1" or "STOPPING=1". Does nothing if no service manager listens. Never waits.
void NotifyServiceManager(std::string_view state);

// Sends RELOADING=1 with the time that sd_notify(3) requires; READY=1 must follow when the reload is over.
void NotifyReloading();

// The time without WATCHDOG=1 after which the service manager assumes that the service hangs; 0: it does not
// check.
std::chrono::microseconds WatchdogInterval();

}  // namespace bivalve::appliance
