// Downloads of what the page was made from, and paper on which nothing is folded away.
(() => {
  const text = (id) => document.getElementById(id).textContent;
  const reports = [...document.querySelectorAll('script[data-report]')];
  // The texts are joined as they are: a number read and written again might not be the same.
  const whole = (parts) => text('document').replace('"reports":[]', () => '"reports":[' + parts.join(',') + ']');
  const save = (name, parts) => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([whole(parts) + '\n'], { type: 'application/json' }));
    link.download = name + '.json';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  for (const button of document.querySelectorAll('button[data-save]')) {
    button.hidden = false;
    button.addEventListener('click', () => {
      const index = button.dataset.save;
      const chosen = index === 'all' ? reports : [reports[Number(index)]];
      save(button.dataset.name, chosen.map((report) => report.textContent));
    });
  }
  window.addEventListener('beforeprint', () => {
    for (const folded of document.querySelectorAll('details')) folded.open = true;
  });
})();
