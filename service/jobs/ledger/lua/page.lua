-- Name jobs that match a filter, newest first. ARGV: id to begin after ('' for the newest), most to name, most to look at,
-- the filter as JSON: states, kind, client, labels. `last` is the last one looked at, '' after the oldest.
local from = ARGV[1] == '' and '+' or '(' .. ARGV[1]
local wanted = cjson.decode(ARGV[4])

local function matches_filter(job)
  local fields = redis.call('HMGET', job_key(job), 'state', 'kind', 'client', 'labels')
  local state = is_newer(job) and 'UNREADABLE' or fields[1]
  if wanted.states and not wanted.states[state] then return false end
  if wanted.kind and wanted.kind ~= fields[2] then return false end
  if wanted.client and wanted.client ~= fields[3] then return false end
  local labels = wanted.labels and fields[4] and cjson.decode(fields[4]) or {}
  for name, value in pairs(wanted.labels or {}) do
    if labels[name] ~= value then return false end
  end
  return true
end

local ids = redis.call('ZREVRANGEBYLEX', P .. 'jobs', from, '-', 'LIMIT', 0, ARGV[3])
local found = {}
for _, job in ipairs(ids) do
  if matches_filter(job) then
    table.insert(found, job)
    if #found == tonumber(ARGV[2]) then return answer({jobs = found, last = job}) end
  end
end
return answer({jobs = found, last = #ids == tonumber(ARGV[3]) and ids[#ids] or ''})
