-- One fixed body over and over, as fast as wrk can.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
file:close()

-- Requests, failed ones, bytes sent in bodies, and bytes received: what the bench reads.
function done(summary)
  local errors = summary.errors
  local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  local sent = summary.requests * #wrk.body
  print(string.format("posted %d %d %d %d", summary.requests, failed, sent, summary.bytes))
end
