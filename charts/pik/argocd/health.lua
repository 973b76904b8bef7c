-- The health of a CaptureStream, a ReplayJob or an AggregateVersion, from its conditions.
local conditions = {}
for _, condition in ipairs(obj.status and obj.status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

local told = conditions.Stalled or conditions.Ready or conditions.Complete
if told == nil then
  return { status = "Progressing", message = "The operator has not looked at it yet" }
end
local message = told.reason .. ": " .. told.message

if obj.status.observedGeneration ~= obj.metadata.generation and not is("Stalled") then
  return { status = "Progressing", message = message }
end
if is("Stalled") then
  return { status = "Degraded", message = message }
end
if is("Reconciling") then
  return { status = "Progressing", message = message }
end
if is("Ready") or told.reason == "Planned" then -- a dry run has no more to do than to plan
  return { status = "Healthy", message = message }
end
if is("Suspended") or told.reason == "Suspended" or told.reason == "AwaitingApproval" then
  return { status = "Suspended", message = message }
end
return { status = "Progressing", message = message }
