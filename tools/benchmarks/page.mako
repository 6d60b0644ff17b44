<%
order = ("kind", "vendor", "platform", "driver", "opencl", "compute_units", "strategy", "profiles", "threads")
labels = {"compute_units": "compute units", "opencl": "OpenCL", "profiles": "tuned profile"}
%><!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>cltorch benchmark: ${", ".join(names)}</title>
<style>
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #1c1c1c; max-width: 1120px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em; margin-bottom: .1em } h2 { font-size: 1.2em; margin: 2.2em 0 .4em; border-bottom: 2px solid #1c1c1c }
table { border-collapse: collapse; font-size: .87em; width: 100%; margin: .8em 0 }
th, td { text-align: left; vertical-align: top; padding: .3em .6em; border-bottom: 1px solid #ddd } thead th { border-bottom: 2px solid #888 }
td small { display: block; color: #666 } td.best b { color: #006b3c } td.best { background: #eef8f1 } td.failed { color: #a02020; background: #fdf1f1 }
.dot { display: inline-block; width: .75em; height: .75em; border-radius: 50%; margin-right: .4em }
img { max-width: 100%; display: block; margin: .6em auto } .quiet { color: #666 } .scroll { overflow-x: auto }
</style></head><body>
<h1>cltorch benchmark</h1>
<p class="quiet">The same cases, in PyTorch's API, on each device and library below. Contestants of one run took turns in each round.
Figures are medians; ± is half the distance of the quartiles. The quickest of a row is green.</p>

<h2>Who takes part</h2>
<div class="scroll"><table><thead><tr><th>name</th><th>what it is</th><th>machine</th><th>when, file</th></tr></thead><tbody>
% for who in people:
<tr><td><span class="dot" style="background:${style.colour(who['shown'])}"></span><b>${who['shown']}</b><small>${who['label']}, ${who['library']} ${who['version']}</small></td>
<td>${who['name']}<small>${"; ".join(f"{labels.get(name, name)} {(' + '.join(who[name]) or 'none, the defaults') if name == 'profiles' else who[name]}" for name in order if who.get(name) is not None)}</small></td>
<% env = who['run'].environment %>
<td>${env['cpu']}<small>${env['cores']} cores, ${f"{env['memory'] / 2**30:.0f}"} GiB${f", load {env['load']} at the start" if env['load'] is not None else ''}; ${env['os']}; ${env['python']}; cltorch ${env['cltorch']}${f", commit {env['commit']}" if env['commit'] else ''};
${", ".join(f"{name} {version}" for name, version in env['versions'].items())}${"".join(f"; {name}={value}" for name, value in env['variables'].items())}</small></td>
<td>${env['when'].replace("T", " ")}<small>${who['file']}; ${", ".join(f"{name} {value}" for name, value in env['options'].items() if name not in ("json", "out"))}</small></td></tr>
% endfor
</tbody></table></div>
% for line in missing:
<p class="quiet">Not here: ${line}</p>
% endfor
% if len(names) > 1:

<h2>Summary: speed against ${names[0]}</h2>
<p class="quiet">Geometric mean of time ratios over the cases that both ran (their number in brackets). Above 1 is faster.</p>
<div class="scroll"><table><thead><tr><th></th>
% for suite in suites:
<th>${suite['name']}</th>
% endfor
</tr></thead><tbody>
% for name in names:
<tr><td><span class="dot" style="background:${style.colour(name)}"></span>${name}</td>
% for suite in suites:
<% mean = means.get((suite['name'], name)) %><td>${ratio(mean[0]) if mean else ""}<small>${f"({mean[1]})" if mean else ""}</small></td>
% endfor
</tr>
% endfor
</tbody></table></div>
<img alt="speed of each suite against ${names[0]}" src="data:image/png;base64,${pictures['summary'] if 'summary' in pictures else ''}">
% endif
% for suite in suites:

<h2>${suite['title']}</h2>
% if suite['name'] in pictures:
<img alt="${suite['title']}" src="data:image/png;base64,${pictures[suite['name']]}">
% endif
<div class="scroll"><table><thead><tr><th>case</th>
% for name in names:
<th><span class="dot" style="background:${style.colour(name)}"></span>${name}</th>
% endfor
% if suite['goals']:
<th>ratio (goal), and what limits it</th>
% endif
</tr></thead><tbody>
% for title, cells, wanted in suite['lines']:
<tr><td>${title}</td>
% for cell in cells:
<td class="${cell['kind']}"><b>${cell['main']}</b><small>${cell['more']}</small></td>
% endfor
% if suite['goals']:
<td>
% for main, more in wanted:
<b>${main}</b><small>${more}</small>
% endfor
</td>
% endif
</tr>
% endfor
</tbody></table></div>
% endfor
</body></html>
