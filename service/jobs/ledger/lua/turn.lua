-- A turn of the dispatcher in one call: stay the leader and, unless Redis lost something since its last turn, take back
-- leases, choose hints, and name the jobs that can be finished. The scripts of these steps are functions here.
-- KEYS[2] as in dispatch.lua. ARGV: name, lease, the incarnation that is indexed; then what expire.lua and dispatch.lua take.
local found = cjson.decode(lead({ARGV[1], ARGV[2]}))
if not found.leads then return answer(found) end
found.incarnation = cjson.decode(incarnation({})).incarnation
if found.incarnation ~= ARGV[3] then return answer(found) end
local steps = {expire({ARGV[4], ARGV[5], ARGV[6]}), dispatch({ARGV[7], ARGV[8], ARGV[9]}), ending({})}
for _, step in ipairs(steps) do
  for name, value in pairs(cjson.decode(step)) do found[name] = value end
end
return answer(found)
