-- Show jobs. ARGV: ids.
local views = {}
for _, job in ipairs(ARGV) do
  local flat, fields = redis.call('HGETALL', job_key(job)), {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  if fields.state then
    fields.job = job
    table.insert(views, fields)
  end
end
return answer({now = now(), views = views})
